//! Both ports in memory: the plainest reading of the contracts, for tests of services and as the model of the other backends.
