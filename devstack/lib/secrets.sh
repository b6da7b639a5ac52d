# shellcheck shell=bash
# secrets.sh: passwords of this devstack: made once, kept in $WORK/secrets (mode 0600), never printed.

secrets_load() {
  local file=$WORK/secrets name
  for name in PW_ADMIN PW_DEMO PW_SERVICE PW_RABBIT PW_DB PW_METADATA; do
    grep -qs "^$name=" "$file" || (
      umask 077
      echo "$name=$(od -An -tx1 -N12 /dev/urandom | tr -d ' \n')" >>"$file"
    )
  done
  # shellcheck source=/dev/null
  . "$file"
  if [ ! -s "$WORK/snapshot.key" ]; then
    (
      umask 077
      od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$WORK/snapshot.key.new"
      mv "$WORK/snapshot.key.new" "$WORK/snapshot.key"
    )
  fi
}
