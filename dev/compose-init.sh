#!/bin/sh
# Makes the secrets and the configuration of compose.yaml, once, and hands the folders to the user of the image.
# Usage: compose-init SECRETS TARGETS
set -eu
umask 077
secrets=$1 targets=$2
owner=10001

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
# Makes a file with what a command prints; it is there whole or not at all, and is never made anew.
once() {
    file=$1
    shift
    [ -e "$secrets/$file" ] && return
    "$@" > "$secrets/$file.part"
    mv "$secrets/$file.part" "$secrets/$file"
}
auth() { echo "rollkeeper:$(random)"; }
configuration() {
    cat <<END
[mongodb]
uri = "mongodb://mongodb:27017/?replicaSet=rs0"

[zookeeper]
connect = "zookeeper:2181"
auth_file = "$secrets/zookeeper-auth"

[targets]
list = [
    { name = "a", url = "file://$targets/a" },
    { name = "b", url = "file://$targets/b" },
    { name = "c", url = "file://$targets/c" },
]

[keys]
recipients = ["$(age-keygen -y "$secrets/identity")"]
identity_file = "$secrets/identity"

[auth]
bootstrap_token_file = "$secrets/token"
END
}

mkdir -p "$secrets" "$targets/a" "$targets/b" "$targets/c"
once identity age-keygen
once token random
once zookeeper-auth auth
once rollkeeper.toml configuration
chown -R "$owner" "$secrets" "$targets"
