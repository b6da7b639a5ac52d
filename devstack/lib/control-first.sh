# shellcheck shell=bash
# control-first.sh: what is done only once: databases, schemas, keys and Keystone's bootstrap. Its result is kept in
# $WORK/ctl/snapshot, from which each later `up` begins.

# The schemas are independent of each other: side by side. A log for each.
control_databases() {
  step "ctl: databases"
  {
    local db
    for db in keystone glance placement nova_api nova_cell0 nova_cell1 neutron; do
      echo "CREATE DATABASE IF NOT EXISTS $db CHARACTER SET utf8mb4;"
    done
    echo "GRANT ALL ON *.* TO 'devstack'@'127.0.0.1' IDENTIFIED BY '$PW_DB';"
    echo "GRANT ALL ON *.* TO 'devstack'@'localhost' IDENTIFIED BY '$PW_DB';"
  } | ctl_run mariadb
  step "ctl: schemas of keystone, glance, placement, nova, neutron"
  in_parallel first_keystone first_nova first_neutron first_small
}

# in_parallel FUNCTION...: runs them side by side; dies naming the one that failed.
in_parallel() {
  local job pids=() i=0 failed=
  for job in "$@"; do
    ("$job" >"$LOGS/$job.log" 2>&1) &
    pids+=($!)
  done
  for job in "$@"; do
    wait "${pids[$i]}" || {
      failed=$job
      tail -n 15 "$LOGS/$job.log" >&2
    }
    i=$((i + 1))
  done
  [ -z "$failed" ] || die "$failed failed (log: $LOGS/$failed.log)"
}

first_keystone() {
  ctl_run keystone-manage db_sync
  ctl_run keystone-manage fernet_setup --keystone-user root --keystone-group root
  ctl_run keystone-manage credential_setup --keystone-user root --keystone-group root
  CTL_ENV=(OS_BOOTSTRAP_PASSWORD="$PW_ADMIN")
  ctl_run keystone-manage bootstrap --bootstrap-region-id RegionOne --bootstrap-admin-url "http://$CTL_IP:5000/v3" \
    --bootstrap-internal-url "http://$CTL_IP:5000/v3" --bootstrap-public-url "http://$CTL_IP:5000/v3"
}

first_nova() {
  ctl_run nova-manage api_db sync
  ctl_run nova-manage cell_v2 map_cell0 --database_connection "$(db_url nova_cell0)"
  ctl_run nova-manage db sync
  ctl_run nova-manage cell_v2 create_cell --name cell1 --database_connection "$(db_url nova_cell1)" --transport-url "$(rabbit_url nova)"
}

first_neutron() { ctl_run neutron-db-manage "${NEUTRON_CONF[@]}" upgrade heads; }

first_small() {
  ctl_run glance-manage db_sync
  ctl_run placement-manage db sync
}

# The database server is stopped (SIGSTOP) while its files are copied: the copy is what a power cut would leave, which
# InnoDB mends at the next start. RabbitMQ's files are left out: it begins empty each time.
control_snapshot() {
  local pid
  step "ctl: keeping this state for the next up"
  pid=$(svc_pid ctl mariadb)
  rm -rf "$WORK/ctl/snapshot.new"
  mkdir -p "$WORK/ctl/snapshot.new"
  # the server writes its log about once a second: what was committed last must be in it before it is copied
  ctl_run mariadb -e 'SET GLOBAL innodb_flush_log_at_trx_commit = 1; CREATE DATABASE flushed; DROP DATABASE flushed; FLUSH TABLES; FLUSH ENGINE LOGS; DO SLEEP(2)'
  kill -STOP "$pid"
  cp -a "$WORK/ctl/data/mysql" "$WORK/ctl/data/keystone" "$WORK/ctl/data/glance" "$WORK/ctl/snapshot.new/" || {
    kill -CONT "$pid"
    die "cannot copy the databases"
  }
  kill -CONT "$pid"
  control_hash >"$WORK/ctl/snapshot.hash"
  mv "$WORK/ctl/snapshot.new" "$WORK/ctl/snapshot"
}

# A snapshot is good for the root, the scripts and the secrets that made it.
control_hash() {
  { root_hash control; cat "$WORK/secrets" "$DEVSTACK"/lib/control-first.sh "$DEVSTACK"/lib/seed.py "$DEVSTACK"/lib/image.sh; } | sha256sum | cut -c1-16
}

control_snapshot_check() {
  [ -d "$WORK/ctl/snapshot" ] || return 0
  [ "$(cat "$WORK/ctl/snapshot.hash" 2>/dev/null)" = "$(control_hash)" ] || {
    say "ctl: the kept state is of other scripts or packages: made anew"
    rm -rf "$WORK/ctl/snapshot"
  }
}
