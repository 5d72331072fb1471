//! Reads structs from objects alone.
//!
//! A derived `Deserialize` takes an array for a struct as well, by the order of its fields: a place as `[-2.9, 53.8]` would be latitude
//! -2.9, whatever its sender meant. [`Objects`] stands between any deserializer and any such type, and lets a struct have an object (a table
//! of TOML) and nothing else, at every depth. **Invariant:** JSON and TOML are read through it.
//!
//! What serde keeps aside before it knows the type (the members of a `flatten`, an untagged enum) is beyond it: no struct hangs there.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor},
};

/// Wraps what takes part in reading: a deserializer, and on its way down all that it hands out.
pub struct Objects<T>(pub T);

/// A visitor that is to make a struct: it sees members and nothing else, so that anything else is told as what was expected.
struct Members<V>(V);

/// Reads JSON in which every struct is an object.
///
/// # Errors
/// Where it is no JSON, goes on behind its end, or is not what `T` says.
pub fn from_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Objects(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }
}

/// Methods that hand the same to what is wrapped, with the visitor wrapped as well: there are 30 of them, which differ in their names.
macro_rules! hand_on {
    ($($method:ident($($argument:ident: $of:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Objects(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Members(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    hand_on! {
        deserialize_any() deserialize_bool() deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_option() deserialize_unit() deserialize_seq() deserialize_map() deserialize_identifier()
        deserialize_ignored_any() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128() deserialize_f32() deserialize_f64()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str) deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

/// The same of a visitor's methods that take a value as it is.
macro_rules! hand_on_values {
    ($($method:ident($of:ty))*) => {$(
        fn $method<E: Error>(self, value: $of) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    hand_on_values! {
        visit_bool(bool) visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String) visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(data))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Objects(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Objects(seed))?;
        Ok((value, Objects(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Members(visitor))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        x: f64,
        y: f64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Pair(f64, f64);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Point);

    #[derive(Debug, PartialEq, Deserialize)]
    enum Shape {
        Nothing,
        At(Point),
        Between(f64, Point),
        Around { centre: Point, radius: f64 },
    }

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct All {
        point: Option<Point>,
        wrapped: Option<Box<Wrapped>>,
        points: Vec<Point>,
        by_name: BTreeMap<String, Point>,
        both: Option<(u8, Point)>,
        pair: Option<Pair>,
        shape: Option<Shape>,
        any: Value,
    }

    /// Reads it as text and as a value, which must agree.
    #[track_caller]
    fn read(value: &Value) -> Result<All, String> {
        let text = value.to_string();
        let of_text = from_json::<All>(text.as_bytes()).map_err(|error| error.to_string());
        let of_value = All::deserialize(Objects(value.clone())).map_err(|error| error.to_string());
        assert_eq!(of_text.as_ref().ok(), of_value.as_ref().ok(), "{text}");
        of_text
    }

    #[test]
    fn structs_are_objects_at_every_depth() {
        let (point, array) = (json!({"x": 1, "y": 2.5}), json!([1, 2.5]));
        for with in [
            |point: &Value| json!({"point": point}),
            |point: &Value| json!({"wrapped": point}),
            |point: &Value| json!({"points": [{"x": 0, "y": 0}, point]}),
            |point: &Value| json!({"by_name": {"a": point}}),
            |point: &Value| json!({"both": [7, point]}),
            |point: &Value| json!({"shape": {"At": point}}),
            |point: &Value| json!({"shape": {"Between": [1, point]}}),
            |point: &Value| json!({"shape": {"Around": {"centre": point, "radius": 1}}}),
        ] {
            assert!(read(&with(&point)).is_ok(), "{}", with(&point));
            let refusal = read(&with(&array)).expect_err("an array is no struct");
            assert!(refusal.contains("invalid type: sequence, expected an object"), "{refusal}");
        }
        assert!(read(&json!({"shape": {"Around": [point, 1]}})).is_err());
        assert!(read(&json!([])).is_err() && read(&json!([null])).is_err());
    }

    #[test]
    fn everything_else_is_read_as_ever() {
        let value = json!({"pair": [1, 2], "shape": "Nothing", "any": {"deep": [[1], null, true, "x", -1, 1.5]}, "point": null});
        let all = read(&value).expect("all is well");
        assert_eq!(all.pair, Some(Pair(1.0, 2.0)));
        assert_eq!((all.shape, &all.any), (Some(Shape::Nothing), &value["any"]));
        assert!(read(&json!({"unknown": 1})).is_err());
        assert!(from_json::<All>(b"{} {}").is_err() && from_json::<All>(b"{").is_err());
    }
}
