# shellcheck shell=bash
# secrets.sh: passwords of this devstack: made once, kept in $WORK/secrets (mode 0600), never printed.

secrets_load() {
  local file=$WORK/secrets name
  if [ ! -s "$file" ]; then
    (
      umask 077
      for name in PW_ADMIN PW_DEMO PW_SERVICE PW_RABBIT PW_DB; do
        echo "$name=$(od -An -tx1 -N12 /dev/urandom | tr -d ' \n')"
      done >"$file.new"
      mv "$file.new" "$file"
    )
  fi
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
