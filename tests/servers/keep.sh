#!/bin/sh
# Keeps one server: runs it, and ends it and deletes its files once nobody has used it for a while.
#   keep.sh FOLDER LOOKS PAUSE COMMAND...
# Standard input is the file FOLDER/keeper, locked by whoever started this; the lock lives as long as this script. Every process that
# uses the server holds a shared lock on FOLDER/users. After LOOKS looks in a row, PAUSE seconds apart, that found no such lock, this
# takes the lock itself, so that nobody comes while the server ends.
set -u
folder=$1 looks=$2 pause=$3
shift 3
cd "$folder" || exit 1

setsid "$@" >server.log 2>&1 </dev/null &
server=$!
echo "$server" >server/pid

exec 9>>users
unused=0
while kill -0 "$server" 2>/dev/null; do
    sleep "$pause"
    if ! flock --nonblock 9; then
        unused=0
        continue
    fi
    unused=$((unused + 1))
    if [ "$unused" -ge "$looks" ]; then
        kill -s KILL -- "-$server"
        wait "$server"
        rm -rf server
        exit
    fi
    flock --unlock 9
done
