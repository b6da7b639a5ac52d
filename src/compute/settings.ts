/** The options of this room, plain; `main.ts` fills them from the option table. Seconds unless the name says otherwise. */
export interface ComputeSettings {
  readonly host: string;
  readonly hypervisorHostname: string;
  readonly myIp: string;
  readonly statePath: string;
  readonly instancesPath: string;
  /** Directories of the config files: `compute_id` is looked for there too (nova/virt/node.py). */
  readonly configDirs: readonly string[];
  readonly instanceNameTemplate: string;
  readonly reportInterval: number;
  /** Seconds without a stored sign of life after which Nova takes the service for down. */
  readonly serviceDownTime: number;
  readonly updateResourcesInterval: number;
  readonly syncPowerStateInterval: number;
  readonly healInfoCacheInterval: number;
  readonly runningDeletedAction: 'reap' | 'log' | 'shutdown' | 'noop';
  readonly runningDeletedPollInterval: number;
  readonly runningDeletedTimeout: number;
  readonly instanceDeleteInterval: number;
  readonly reclaimInstanceInterval: number;
  readonly periodicEnable: boolean;
  readonly periodicFuzzyDelay: number;
  readonly resumeGuestsOnHostBoot: boolean;
  readonly reservedCpus: number;
  readonly reservedMemoryMb: number;
  readonly reservedDiskMb: number;
  /** Fixed ratios; undefined: the provider's present value, else the initial one. */
  readonly cpuAllocationRatio: number | undefined;
  readonly ramAllocationRatio: number | undefined;
  readonly diskAllocationRatio: number | undefined;
  readonly initialCpuAllocationRatio: number;
  readonly initialRamAllocationRatio: number;
  readonly initialDiskAllocationRatio: number;
  readonly vifPluggingTimeout: number;
  readonly vifPluggingIsFatal: boolean;
  readonly maxConcurrentBuilds: number;
  readonly maxConcurrentSnapshots: number;
  /** Away from this host; 0: no limit. */
  readonly maxConcurrentLiveMigrations: number;
  readonly liveMigrationWaitForVifPlug: boolean;
  /** For each GiB of memory and disk, at least 2 of each; 0: none. */
  readonly liveMigrationCompletionTimeout: number;
  readonly liveMigrationTimeoutAction: 'abort' | 'force_complete';
  /** A running server that criu would refuse is stopped and started anew by a live migration away from here. */
  readonly haulPermitRestart: boolean;
  /** Between two looks at a live migration that another host has to go on with, in milliseconds: well below `service_down_time`, after which its server can be evacuated. */
  readonly liveLookMs: number;
  /** Seconds after which a shelved server leaves the host; 0 at once, negative never. */
  readonly shelvedOffloadTime: number;
  readonly shelvedPollInterval: number;
  /** Seconds after which a resize confirms itself; 0 never. */
  readonly resizeConfirmWindow: number;
  readonly shutdownTimeout: number;
  readonly ovsBridge: string;
  readonly trackInstanceChanges: boolean;
  readonly disableGroupPolicyCheck: boolean;
  readonly disableServiceVersionCheck: boolean;
  readonly imageCacheInterval: number;
  readonly removeUnusedImages: boolean;
  readonly removeUnusedImagesSeconds: number;
  readonly pidsLimit: number;
  /** `rescue_image_id` of [libvirt]. */
  readonly rescueImageId: string | undefined;
  /** `base_url` of [serial_console] and `token_ttl` of [consoleauth], seconds. */
  readonly serialBaseUrl: string;
  readonly consoleTokenTtl: number;
  readonly dhcpDomain: string;
  readonly forceConfigDrive: boolean;
  /** EC2 versions that are left out of a config drive. */
  readonly configDriveSkipVersions: readonly string[];
  readonly vendorData: { readonly providers: readonly string[]; readonly file: string | undefined; readonly targets: readonly string[]; readonly failureFatal: boolean };
}
