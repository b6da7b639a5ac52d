# shellcheck shell=bash
# certs.sh: certificates with which the hosts of this devstack move containers between each other. The authority is made once
# ($WORK/certs); every host gets a certificate of its own name, in /etc/nova/haul.

HAUL_CERTS=/etc/nova/haul
CERT_CURVE=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc)

certs_authority() {
  local dir=$WORK/certs
  [ ! -s "$dir/ca.pem" ] || return 0
  (
    umask 077
    mkdir -p "$dir"
    openssl req -x509 "${CERT_CURVE[@]}" -days 3650 -subj "/CN=haulier devstack" -keyout "$dir/ca.key" -out "$dir/ca.pem.new" 2>/dev/null
    mv "$dir/ca.pem.new" "$dir/ca.pem"
  )
}

# certs_host NAME: the files of a host that is up.
certs_host() {
  local name=$1 dir=$WORK/certs
  with_lock certs certs_authority
  [ -s "$dir/$name.pem" ] || (
    umask 077
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$name" >"$dir/$name.ext"
    openssl req "${CERT_CURVE[@]}" -subj "/CN=$name" -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 3650 -extfile "$dir/$name.ext" -out "$dir/$name.pem.new" 2>/dev/null
    mv "$dir/$name.pem.new" "$dir/$name.pem"
    rm -f "$dir/$name.ext" "$dir/$name.csr"
  )
  (put_in "$name" "$HAUL_CERTS/ca.pem" <"$dir/ca.pem")
  (put_in "$name" "$HAUL_CERTS/cert.pem" <"$dir/$name.pem")
  (put_in "$name" "$HAUL_CERTS/key.pem" <"$dir/$name.key")
}
