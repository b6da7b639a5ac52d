/** The verdict beside real dumps: where it says yes the dump and the restore work, where it says no the dump fails and the container runs on. */
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { criuProblem } from './checkpoint-kit.js';
import { guestImage, guestImageProblem } from './guest-systems.js';
import { inside, makeBed, makeSpec, makeVif, operate, until, type Bed } from './harness.js';
import { toolsImage } from './tools-image.js';
import { programs, ready, type Workload } from './verdict-programs.js';

const problem = (await criuProblem()) ?? guestImageProblem('apps');
const test = anyTest as TestFn<{ bed: Bed; tools: ImageSource; apps: ImageSource }>;
const real = problem === undefined ? test.serial : test.skip;
if (problem !== undefined) process.stderr.write(`SKIPPED test/host/container/verdict: ${problem}\n`);

test.before(async (t) => {
  if (problem !== undefined) return;
  t.context = { bed: await makeBed(), tools: await toolsImage(true), apps: await guestImage('apps') };
  for (const image of [t.context.tools, t.context.apps]) await operate((operation) => t.context.bed.host.ensureImage(image, operation));
});
test.after.always(async (t) => {
  if (!t.context.bed) return;
  await t.context.bed.end();
  await run('ip', ['link', 'del', 'brqver']).catch(() => undefined);
});

/** A Python program that sets something up, writes /run/ready, and then serves `check()` for each line of /run/ask. */
const python = (setUp: string, check = 'True'): string => `python3 -c '
import os, sys, time, socket, select, threading, signal, mmap, array, fcntl, struct, ctypes
${setUp}
open("/run/ready", "w").write("yes")
while True:
    time.sleep(0.05)
    try:
        os.rename("/run/ask", "/run/asked")
        open("/run/answer.new", "w").write("fine" if (${check}) else "broken")
        os.rename("/run/answer.new", "/run/answer")
    except FileNotFoundError: pass
'`;
const asked = 'rm -f /run/answer; touch /run/ask; i=0; while [ ! -e /run/answer ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done; cat /run/answer';

const corpus: readonly Workload[] = [
  { name: 'busybox init alone', start: ready },
  { name: 'a shell with jobs', start: 'tail -f /dev/null & tail -f /dev/null & (tail -f /dev/null; true) & touch /run/ready; wait', after: 'n=$(pidof tail | wc -w); [ $n -ge 3 ] && echo fine' },
  { name: 'pipes', start: python('r, w = os.pipe(); os.write(w, b"kept")', 'os.write(w, b"x") == 1 and os.read(r, 4) in (b"kept", b"x")'), after: asked },
  { name: 'unix sockets', start: python('a, b = socket.socketpair(); a.send(b"in flight"); l = socket.socket(socket.AF_UNIX); l.bind("/run/sock"); l.listen(); d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); d.bind("\\0abstract"); c = socket.socket(socket.AF_UNIX); c.connect("/run/sock"); s, _ = l.accept()', 'b.recv(20) == b"in flight" and c.send(b"1") and s.recv(1) == b"1"'), after: asked },
  { name: 'descriptors in flight', start: python('a, b = socket.socketpair(); r, w = os.pipe(); socket.send_fds(a, [b"x"], [r])', 'len(socket.recv_fds(b, 1, 1)[1]) == 1'), after: asked },
  { name: 'TCP within the container, both ways', start: python('l = socket.create_server(("127.0.0.1", 7001)); c = socket.create_connection(("127.0.0.1", 7001)); s, _ = l.accept(); c.send(b"waiting")', 's.recv(7) == b"waiting" and s.send(b"back") and c.recv(4) == b"back"'), after: asked },
  { name: 'TCP to its own address, half closed', start: python('l = socket.create_server(("10.90.0.5", 7002)); c = socket.create_connection(("10.90.0.5", 7002)); s, _ = l.accept(); c.shutdown(socket.SHUT_WR)', 's.recv(1) == b"" and s.send(b"late") and c.recv(4) == b"late"'), after: asked },
  { name: 'UDP and raw sockets', start: python('u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 7003)); r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); v = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)', 'u.getsockname()[1] == 7003'), after: asked },
  { name: 'a packet socket', start: python('p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); p.bind(("eth0", 0))', 'p.getsockname()[0] == "eth0"'), after: asked },
  { name: 'an idle netlink socket', start: python('n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); n.bind((0, 1))', 'n.fileno() > 0'), after: asked },
  { name: 'inotify', start: python('libc = ctypes.CDLL(None); open("/etc/watched", "w").close(); i = libc.inotify_init(); libc.inotify_add_watch(i, b"/etc/watched", 2)', 'open("/etc/watched", "a").write("x") and select.select([i], [], [], 1)[0] == [i]'), after: asked },
  { name: 'timers, signals, eventfd, epoll', start: python('hits = []; signal.signal(signal.SIGALRM, lambda *a: hits.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1); e = os.eventfd(3); t = os.timerfd_create(time.CLOCK_MONOTONIC); os.timerfd_settime(t, initial=0.1, interval=0.1); p = select.epoll(); p.register(e); p.register(t)', 'len(p.poll(1)) >= 1 and os.eventfd_read(e) == 3 and len(hits) > 0'), after: asked },
  { name: 'threads', start: python('n = [0] * 8\ndef work(i):\n    while True: n[i] += 1; time.sleep(0.01)\nfor i in range(8): threading.Thread(target=work, args=(i,), daemon=True).start()\nold = [0] * 8', 'threading.active_count() == 9'), after: asked },
  { name: 'shared memory and memfd', start: python('m = mmap.mmap(-1, 8192); m[0:4] = b"anon"; f = os.open("/dev/shm/seg", os.O_RDWR | os.O_CREAT); os.ftruncate(f, 4096); s = mmap.mmap(f, 4096); s[0:3] = b"shm"; d = os.memfd_create("mem"); os.write(d, b"memfd"); libc = ctypes.CDLL(None); shmid = libc.shmget(77, 4096, 0o1666); child = os.fork()\nif child == 0:\n    while True: time.sleep(1)', 'm[0:4] == b"anon" and s[0:3] == b"shm" and os.pread(d, 5, 0) == b"memfd" and ctypes.CDLL(None).shmget(77, 4096, 0o666) == shmid'), after: asked },
  { name: 'deleted files: small, 3 MiB', start: python('a = open("/root/a", "w+b"); a.write(b"gone"); a.flush(); os.unlink("/root/a"); b = open("/root/b", "w+b"); b.write(b"B" * 3145728); b.flush(); os.unlink("/root/b")', 'a.seek(0) == 0 and a.read() == b"gone" and b.seek(3145727) and b.read() == b"B"'), after: asked },
  { name: 'file locks', start: python('f = open("/run/locked", "w"); fcntl.flock(f, fcntl.LOCK_EX); g = open("/root/locked", "w"); fcntl.lockf(g, fcntl.LOCK_EX)', 'open("/run/locked") is not None'), after: `${asked}; flock -n /run/locked true && echo lost` },
  { name: 'another uid', start: `su user -c 'tail -f /dev/null & exec tail -f /dev/null' & touch /run/ready; wait`, after: 'ps -o user,comm | grep -q "^user.*tail" && echo fine' },
  { name: 'node', start: `node -e 'const n = require("net"); n.createServer((s) => s.pipe(s)).listen(7005, "127.0.0.1"); let i = 0; setInterval(() => { i++; require("fs").writeFileSync("/run/ticks", String(i)); }, 20); setTimeout(() => require("fs").writeFileSync("/run/ready", "y"), 300)'`, after: 'a=$(cat /run/ticks); sleep 0.5; b=$(cat /run/ticks); [ $b -gt $a ] && [ "$(echo hello | nc -w 1 127.0.0.1 7005)" = hello ] && echo fine' },
  { name: 'a mount namespace of its own', start: `unshare -m sh -c 'mount -t tmpfs none /tmp; echo kept > /tmp/f; ${ready}'`, after: 'cat /proc/$(pidof tail)/root/tmp/f | grep -q kept && echo fine' },

  { name: 'an IPC namespace', start: `unshare -i sh -c '${ready}'`, no: 'nested-namespaces' },
  { name: 'a user namespace', start: `unshare -U sh -c 'while [ ! -e /run/ready ]; do sleep 0.1; done; exec tail -f /dev/null' & sleep 0.3; ${ready}`, no: 'nested-namespaces' },
  { name: 'a PID namespace', start: `unshare -p -f sh -c '${ready}'`, no: 'nested-namespaces' },
  { name: 'unread netlink messages', start: python('n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); n.bind((0, 0x11)); os.system("ip addr add 10.99.0.1/24 dev eth0; ip link set eth0 mtu 1400")'), no: 'netlink-unread' },
  { name: 'a ping socket', start: `echo "0 65535" > /proc/sys/net/ipv4/ping_group_range; ${python('p = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1); p.connect(("127.0.0.1", 0))')}`, no: 'ping-sockets' },
  { name: 'a connection nobody accepted', start: python('l = socket.create_server(("127.0.0.1", 7006)); c = socket.create_connection(("127.0.0.1", 7006))'), no: 'pending-connections' },
  { name: 'a watch on the inode number of the root directory', start: python('libc = ctypes.CDLL(None); n = os.stat("/").st_ino; i = libc.inotify_init(); files = [open("/dev/shm/%d" % k, "w") for k in range(200)]; same = [f for f in files if os.fstat(f.fileno()).st_ino == n]; assert libc.inotify_add_watch(i, same[0].name.encode(), 0x800) > 0'), no: 'watched-root-number' },
  { name: 'a network namespace', start: `unshare -n sh -c '${ready}'`, no: 'nested-namespaces' },
  { name: 'a folder of a file system that is mounted nowhere else', start: `mkdir /root/a /root/b; mount -t tmpfs none /root/a; mkdir /root/a/in; mount --bind /root/a/in /root/b; umount /root/a; ${ready}`, no: 'partial-mounts' },
  { name: 'a watch on memory pressure', start: python('p = os.open("/proc/pressure/memory", os.O_RDWR | os.O_NONBLOCK); os.write(p, b"some 150000 2000000\\0")'), no: 'psi-triggers' },
  { name: 'a POSIX message queue', start: python('libc = ctypes.CDLL(None); q = libc.mq_open(b"/queue", os.O_RDWR | os.O_CREAT, 0o600, None); assert q >= 0'), no: 'message-queues' },
  { name: 'a traced process', start: python('libc = ctypes.CDLL(None); c = os.fork()\nif c == 0:\n    libc.ptrace(0, 0, 0, 0); os.kill(os.getpid(), 19)\n    while True: time.sleep(1)\nos.waitpid(c, 2)'), no: 'traced' },
  { name: 'inotify on a deleted file', start: python('libc = ctypes.CDLL(None); f = open("/root/w", "w"); i = libc.inotify_init(); libc.inotify_add_watch(i, b"/root/w", 2); os.unlink("/root/w")', 'f.write("x") == 1 and f.flush() is None and select.select([i], [], [], 1)[0] == [i]'), no: 'watched-unlinked' },
  { name: 'a deleted file with another name', start: python('c = open("/root/c", "w+b"); c.write(b"linked"); c.flush(); os.link("/root/c", "/root/d"); os.unlink("/root/c")'), no: 'renamed-files' },
];

const all = [...corpus.map((workload) => ({ ...workload, inApps: false })), ...programs.map((workload) => ({ ...workload, inApps: true }))];
for (const { name, start, no, after, inApps } of all) {
  real(`${no === undefined ? 'yes' : 'no'}: ${name}`, async (t) => {
    const { bed, apps, tools } = t.context;
    const { host } = bed;
    const image = inApps ? apps : tools;
    const spec = makeSpec(image, {
      vifs: [makeVif({ type: 'bridge', bridge: 'brqver', createBridge: true }, 0)],
      limits: { vcpus: 2, cpuShares: undefined, cpuQuota: undefined, cpuPeriod: undefined, memoryMiB: 512, swapMiB: 0, pids: 200, rootGiB: 2 },
    });
    t.teardown(() => operate((operation) => host.destroy(spec.id, operation)));
    await operate((operation) => host.create(spec, operation));
    await operate((operation) => host.startContainer(spec.id, operation));
    await until('the guest is up', async () => (await host.consoleLog(spec.id, undefined)).includes('guest is up'));
    await inside(bed, spec.id, 'sh', '-c', `(${start}) </dev/null >/run/out 2>&1 & true`);
    await until('the workload is ready', () => inside(bed, spec.id, 'sh', '-c', 'cat /run/ready >/dev/null && echo ready; true')).catch(async (error: unknown) => {
      throw new Error(`${String(error)}: ${await inside(bed, spec.id, 'cat', '/run/out')}`);
    });
    await sleep(100);
    const verdict = await host.verdict(spec.id);
    const { pid } = await host.view(spec.id);
    const failure = await operate((operation) => host.suspend(spec.id, operation)).then(() => undefined, (error: Error) => error.message);
    t.log(`${verdict.findings.map(({ code, text }) => `${code}: ${text}`).join('; ') || 'nothing in the way'}${failure === undefined ? '' : `; criu: ${failure}`}`);
    t.is(failure === undefined, verdict.freezable, 'the dump does what the verdict said');
    if (no !== undefined) {
      t.true(verdict.findings.some(({ code }) => code === no), 'the reason');
      t.like(await host.view(spec.id), { state: 'running', pid });
      return;
    }
    t.deepEqual(verdict.findings, []);
    await operate((operation) => host.resume(spec.id, operation));
    t.is((await host.view(spec.id)).state, 'running');
    if (after !== undefined) t.is(await inside(bed, spec.id, 'sh', '-c', `${after}; true`), 'fine');
  });
}
