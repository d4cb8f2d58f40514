#!/bin/sh
# Makes the secrets of the overlay as files, once. Usage: make-secrets.sh [FOLDER]; the folder is `generated` beside it.
set -eu
umask 077
folder=${1:-$(dirname "$0")/generated}

command -v age-keygen >/dev/null || { echo "make-secrets: age-keygen is missing; install age" >&2; exit 3; }
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }
# Makes a file with what a command prints; it is there whole or not at all, and is never made anew.
once() {
    file=$1
    shift
    [ -e "$folder/$file" ] && return
    "$@" > "$folder/$file.part"
    mv "$folder/$file.part" "$folder/$file"
}
identities() {
    cat <<END
{"identities": [{"name": "rollkeeper", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$(cat "$folder/s3-access-key")", "secretKey": "$(cat "$folder/s3-secret-key")"}]}]}
END
}

mkdir -p "$folder"
once mongodb-uri printf %s 'mongodb://mongodb-0.mongodb:27017/?replicaSet=rs0'
once zookeeper-auth printf 'rollkeeper:%s' "$(random)"
once s3-access-key random
once s3-secret-key random
once s3-identities identities
once age-identity age-keygen
once bootstrap-token random
once environment printf 'ROLLKEEPER__KEYS__RECIPIENTS=%s\n' "$(age-keygen -y "$folder/age-identity")"
