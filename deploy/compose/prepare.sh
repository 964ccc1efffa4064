#!/bin/sh
# Makes deploy/compose/run: a certificate authority and a certificate for *.localhost.pomerium.io, the signing key and the
# secrets that compose.yaml reads. What is there stays; remove the folder to begin anew. Needs openssl.
#   deploy/compose/prepare.sh
#   GITHUB_CLIENT_ID=… GITHUB_CLIENT_SECRET=… deploy/compose/prepare.sh     for --profile github
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p run
cd run
# The folder is its owner's alone. The files in it are mounted one by one, into containers that run as somebody else.
umask 022

if [ ! -f server.pem ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj '/CN=mcp-opa-sidecar local CA' \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout ca-key.pem -out ca.pem 2>/dev/null
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost.pomerium.io' \
    -keyout server-key.pem -out server.csr 2>/dev/null
  cat >server.ext <<'END'
basicConstraints=CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:*.localhost.pomerium.io
END
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 397 -extfile server.ext \
    -out server.pem 2>/dev/null
  rm -f server.csr server.ext ca.srl
  chmod 600 ca-key.pem
  chmod 644 server-key.pem
fi
if [ ! -f signing-key.pem ]; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signing-key.pem 2>/dev/null
  chmod 644 signing-key.pem
fi
if [ ! -f secrets.env ]; then
  for name in SHARED_SECRET COOKIE_SECRET IDP_CLIENT_SECRET; do
    echo "$name=$(openssl rand -base64 32)"
  done >secrets.env
  echo "SESSION_KEY=$(openssl rand -hex 32)" >sidecar.env
  chmod 600 secrets.env sidecar.env
fi
. ./secrets.env

fill() {
  sed -e "s|@SHARED_SECRET@|$SHARED_SECRET|" -e "s|@COOKIE_SECRET@|$COOKIE_SECRET|" \
    -e "s|@IDP_CLIENT_SECRET@|$IDP_CLIENT_SECRET|" \
    -e "s|@GITHUB_CLIENT_ID@|${GITHUB_CLIENT_ID:-}|" -e "s|@GITHUB_CLIENT_SECRET@|${GITHUB_CLIENT_SECRET:-}|"
}
fill <../dex.yaml >dex.yaml
if [ -n "${GITHUB_CLIENT_ID:-}" ]; then sed 's|#@GITHUB@ ||' ../pomerium.yaml; else grep -v '#@GITHUB@' ../pomerium.yaml; fi |
  fill >pomerium.yaml
chmod 644 dex.yaml pomerium.yaml
echo "deploy/compose/run is ready. Let your browser and your clients trust deploy/compose/run/ca.pem."
