/** Real programs of the image `apps` (devstack/guests/apps.txt) for the corpus of the verdict. */

/** One thing that runs in a container. */
export interface Workload {
  readonly name: string;
  /** Run in the background by a shell of the container; writes /run/ready. */
  readonly start: string;
  /** The code that the verdict must name; undefined: it says yes. */
  readonly no?: string;
  /** Runs inside after the resume; must end with `fine`. */
  readonly after?: string;
}

/** Says that all is set up, and stays. busybox's sleep would end at a restore: criu ends a sleep that was under way with EINTR. */
export const ready = 'touch /run/ready; exec tail -f /dev/null';

const as = (user: string, command: string): string => `su -s /bin/sh ${user} -c '${command}'`;
const page = `python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1/").status)' | grep -q 200`;

/** Databases, servers and languages as people run them. */
export const programs: readonly Workload[] = [
  {
    name: 'PostgreSQL with a transaction under way',
    start: `${as('postgres', 'exec /usr/lib/postgresql/*/bin/postgres -D /var/lib/postgresql/*/main -c config_file=$(ls /etc/postgresql/*/main/postgresql.conf)')} &
      until ${as('postgres', 'pg_isready')}; do sleep 0.1; done
      mkfifo /run/sql; chmod 666 /run/sql; ${as('postgres', 'psql -At')} </run/sql >/run/rows & exec 9>/run/sql
      echo "create table t (n int); begin; insert into t values (42); select n, 'written' from t;" >&9; until grep written /run/rows; do sleep 0.1; done; ${ready}`,
    after: `echo "select n, 'kept' from t; commit;" >/run/sql; i=0; until grep -q '42|kept' /run/rows || [ $((i += 1)) -gt 100 ]; do sleep 0.05; done
      [ "$(${as('postgres', 'psql -Atc "select n from t"')})" = 42 ] && ipcs -m 2>/dev/null | grep -q postgres && ps -o comm= -u postgres | grep -c postgres | grep -q '[5-9]' && echo fine`,
  },
  {
    name: 'Redis with a client that waits',
    start: `${as('redis', 'exec redis-server --bind 127.0.0.1 --dir /var/lib/redis')} & until redis-cli ping | grep PONG; do sleep 0.1; done
      redis-cli set key value; redis-cli blpop queue 0 >/run/popped & until redis-cli client list | grep cmd=blpop; do sleep 0.1; done; ${ready}`,
    after: `redis-cli lpush queue item >/dev/null; i=0; until grep -q item /run/popped || [ $((i += 1)) -gt 100 ]; do sleep 0.05; done
      redis-cli bgsave | grep -q started; [ "$(redis-cli get key) $(tail -n 1 /run/popped) $(ps -o user= -C redis-server | sort -u)" = 'value item redis' ] && echo fine`,
  },
  {
    name: 'nginx, its workers under www-data',
    start: `nginx; until ${page}; do sleep 0.1; done; ${ready}`,
    after: `ps -o user= -C nginx | grep -q www-data && ${page} && nginx -s reload && ${page} && echo fine`,
  },
  {
    name: 'Node with worker threads and a child',
    start: `cat >/root/app.js <<'END'
const { Worker } = require('worker_threads');
let last = 0;
new Worker('let n = 0; setInterval(() => require("worker_threads").parentPort.postMessage(++n), 10)', { eval: true }).on('message', (n) => { last = n; });
const cat = require('child_process').spawn('cat');
require('http').createServer((request, response) => {
  cat.stdout.once('data', (data) => response.end(last + ' ' + data));
  cat.stdin.write('echo');
}).listen(7005, () => require('fs').writeFileSync('/run/ready', 'y'));
END
exec node /root/app.js`,
    after: `python3 -c 'import time, urllib.request
def ask(): return urllib.request.urlopen("http://127.0.0.1:7005/").read().decode().split()
a = ask(); time.sleep(0.3); b = ask(); print("fine" if int(b[0]) > int(a[0]) and b[1] == "echo" else (a, b))'`,
  },
  {
    name: 'Python with a database, a pool of processes and an event loop',
    start: `cat >/root/app.py <<'END'
import asyncio, multiprocessing, sqlite3
async def main():
    pool = multiprocessing.Pool(2)
    pool.map(abs, [-1, -2])
    db = sqlite3.connect("/root/app.db")
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (n)")
    db.execute("insert into t values (7)") # not committed
    async def answer(reader, writer):
        await reader.readline()
        db.commit()
        writer.write(f"{db.execute('select n from t').fetchone()[0]} {pool.map(abs, [-5])[0]}\\n".encode())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 7006)
    open("/run/ready", "w").write("y")
    await server.serve_forever()
if __name__ == "__main__":
    asyncio.run(main())
END
exec python3 /root/app.py`,
    after: '[ "$(echo ask | nc -w 5 127.0.0.1 7006)" = "7 5" ] && echo fine',
  },
  {
    name: 'a container in the container', no: 'nested-namespaces',
    start: `mkdir -p /root/inner/rootfs/bin && cp /bin/busybox /root/inner/rootfs/bin/sh && cd /root/inner && runc spec && python3 -c 'import json
c = json.load(open("config.json"))
c["process"].update(terminal=False, args=["/bin/sh", "-c", "while :; do sleep 1; done"])
c["linux"].update(namespaces=[{"type": kind} for kind in ("pid", "mount", "ipc")], resources={})
del c["hostname"]
json.dump(c, open("config.json", "w"))' && (runc run inner &) && until runc list | grep running; do sleep 0.1; done; ${ready}`,
  },
];
