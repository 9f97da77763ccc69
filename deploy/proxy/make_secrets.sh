#!/bin/sh
# A certificate that signs itself, a random token, and the .env of compose.yaml: make_secrets.sh FOLDER [NAMES]
# NAMES is what clients call the proxy, such as DNS:mmms.example.org,IP:192.0.2.7. What is there already is kept.
set -eu
umask 077
folder=${1:?folder}
names=${2:-DNS:localhost,IP:127.0.0.1}
mkdir -p "$folder/tokens"
if [ ! -e "$folder/key.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=mmms" \
        -addext "subjectAltName=$names" -keyout "$folder/key.pem" -out "$folder/certificate.pem" 2>/dev/null
fi
if [ ! -e "$folder/token" ]; then
    openssl rand -hex 32 >"$folder/token"
    printf '"~^Bearer %s$" "first";\n' "$(cat "$folder/token")" >"$folder/tokens/first.conf"
fi
if [ ! -e "$folder/../.env" ]; then
    printf 'MMMS_ADMIN_KEY=%s\nMMMS_UID=%s\nMMMS_GID=%s\n' "$(openssl rand -hex 32)" "$(id -u)" "$(id -g)" \
        >"$folder/../.env"
fi
