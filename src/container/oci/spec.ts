/** Makes `config.json` of a system container from a `ContainerSpec` and what the host is like. */
import type { ApplicationProcess } from '../application/process.js';
import { kernelHostName } from '../host-name.js';
import type { ContainerSpec } from '../spec.js';
import { containerCapabilities } from './capabilities.js';
import type { OciConfig } from './config.js';
import { ociResources } from './limits.js';
import { maskedPaths, ociMounts, readonlyPaths } from './mounts.js';
import { seccompProfile } from './seccomp.js';

/** Ids of one container's user namespace. */
export const idRangeSize = 65_536;

/** PID 1 of an image unless the spec says otherwise. */
export const defaultInit = '/sbin/init';

/** All that `config.json` depends on besides the spec. */
export interface OciInputs {
  /** First host uid and gid of the container's range. */
  readonly idBase: number;
  /** Where the root file system is mounted. */
  readonly rootfs: string;
  /** `<cgroupParent>/<id>`. */
  readonly cgroupsPath: string;
  readonly pureCgroup2: boolean;
  readonly swapLimits: boolean;
  /** Node's name of the architecture. */
  readonly arch: string;
  /** Hard limit of open files that this service may hand on. */
  readonly maxOpenFiles: number;
  readonly systemdConfFolder: string;
  /** What it runs, and the folder of the tiny init; undefined: the init system of its image. */
  readonly application?: ApplicationProcess & { readonly initFolder: string };
  /** Host folder with the config drive, if it has one. */
  readonly configDriveFolder?: string | undefined;
  /** Folder below which its own figures are (`figures/lxcfs.ts`). */
  readonly figuresRoot?: string | undefined;
  /** Root file system of the one that it rescues. */
  readonly rescuedRoot?: string | undefined;
  /** File with criu's options for this container. */
  readonly criuConfig: string;
  /** The network hook: script and folder of its batch files. */
  readonly hook: { readonly script: string; readonly folder: string };
}

const softOpenFiles = 1024;
const hardOpenFiles = 524_288;
const hookTimeoutSeconds = 20;

/** Units that cannot work in a user namespace; without the mask systemd would call the machine degraded. */
const maskedUnits = [
  'sys-kernel-debug.mount', 'sys-kernel-tracing.mount', 'sys-kernel-config.mount', 'sys-fs-fuse-connections.mount', 'dev-hugepages.mount',
  'dev-mqueue.mount', 'proc-sys-fs-binfmt_misc.automount',
];

const environment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  TERM: 'linux',
  // systemd's way to know that it runs in a container (systemd.io/CONTAINER_INTERFACE).
  container: 'oci',
  // cloud-init looks here, in a container, whether a metadata service is to be asked (ds-identify, DataSourceOpenStack.py).
  product_name: 'OpenStack Nova',
  // PID 1 must not watch memory pressure: criu loses the trigger and PID 1 would spin after a restore.
  MEMORY_PRESSURE_WATCH: '/dev/null',
  SYSTEMD_PROC_CMDLINE: maskedUnits.map((unit) => `systemd.mask=${unit}`).join(' '),
};

/** What an application expects: little. */
const applicationEnvironment = { TERM: environment.TERM, container: environment.container };

/** The first process: an init system as root, or what the image's configuration says. */
function firstProcess(spec: ContainerSpec, application: ApplicationProcess | undefined): Pick<OciConfig['process'], 'user' | 'args' | 'cwd' | 'env' | 'capabilities'> {
  const variables = application ? { ...applicationEnvironment, HOSTNAME: kernelHostName(spec.hostname), ...application.env, ...spec.env } : { ...environment, ...spec.env };
  const env = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const { uid = 0, gid = 0, additionalGids = [] } = application ?? {};
  // a user other than root has what its programs' files give it, and no more
  const held = uid === 0 ? containerCapabilities : [];
  return {
    user: { uid, gid, ...(additionalGids.length > 0 ? { additionalGids } : {}) },
    args: spec.init ?? application?.args ?? [defaultInit],
    cwd: application?.cwd ?? '/',
    env,
    capabilities: { bounding: containerCapabilities, effective: held, permitted: held, inheritable: [], ambient: [] },
  };
}

/** Makes the configuration. Pure: equal inputs give equal output. */
export function ociConfig(spec: ContainerSpec, inputs: OciInputs): OciConfig {
  const mapping = [{ containerID: 0, hostID: inputs.idBase, size: idRangeSize }];
  const hard = Math.min(hardOpenFiles, inputs.maxOpenFiles);
  return {
    ociVersion: '1.2.0',
    hostname: kernelHostName(spec.hostname),
    root: { path: inputs.rootfs, readonly: false },
    process: {
      terminal: true,
      consoleSize: { height: 25, width: 80 },
      ...firstProcess(spec, inputs.application),
      rlimits: [{ type: 'RLIMIT_NOFILE', hard, soft: Math.min(softOpenFiles, hard) }],
      noNewPrivileges: false, // su and sudo work inside
    },
    mounts: ociMounts({
      pureCgroup2: inputs.pureCgroup2, systemdConfFolder: inputs.systemdConfFolder, memoryMiB: spec.limits.memoryMiB, initFolder: inputs.application?.initFolder,
      configDriveFolder: inputs.configDriveFolder, figuresRoot: inputs.figuresRoot, rescuedRoot: inputs.rescuedRoot,
    }),
    hooks: {
      createRuntime: [{
        path: '/bin/sh',
        args: ['sh', inputs.hook.script, inputs.hook.folder],
        env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
        timeout: hookTimeoutSeconds,
      }],
    },
    annotations: { 'org.criu.config': inputs.criuConfig, 'org.haulier.name': spec.name, ...Object.fromEntries(Object.entries(spec.labels).map(([key, value]) => [`org.haulier.label.${key}`, value])) },
    linux: {
      namespaces: ['pid', 'mount', 'uts', 'ipc', 'network', 'cgroup', 'user'].map((type) => ({ type })),
      uidMappings: mapping,
      gidMappings: mapping,
      resources: ociResources(spec.limits, inputs.swapLimits),
      cgroupsPath: inputs.cgroupsPath,
      seccomp: seccompProfile(inputs.arch),
      maskedPaths,
      readonlyPaths,
    },
  };
}
