/** `BlockDeviceMapping` as plain values (contract C.12, nova/objects/block_device.py). */
import { NovaObject } from './object.js';
import type { WireContext } from '../messaging/types.js';
import type { Conductor } from './types.js';

/** One disk of an instance. */
export interface BlockDevice {
  /** The mapping itself: set fields on it and `objectCall(context, object, 'save')`. */
  readonly object: NovaObject;
  readonly uuid: string;
  /** 0 is the root disk; below 0 or undefined: not bootable. */
  readonly bootIndex: number | undefined;
  readonly source: 'volume' | 'snapshot' | 'image' | 'blank' | undefined;
  readonly destination: 'local' | 'volume' | undefined;
  /** `/dev/vdb`. */
  readonly deviceName: string | undefined;
  readonly deviceType: string | undefined;
  readonly diskBus: string | undefined;
  /** `swap` on a blank local disk means swap; else a file system, or undefined. */
  readonly guestFormat: string | undefined;
  /** GiB; MiB for swap. */
  readonly size: number | undefined;
  readonly volumeId: string | undefined;
  readonly imageId: string | undefined;
  readonly snapshotId: string | undefined;
  readonly attachmentId: string | undefined;
  readonly tag: string | undefined;
  readonly deleteOnTermination: boolean;
}

function blockDevice(object: NovaObject): BlockDevice {
  return {
    object,
    uuid: object.text('uuid') ?? '',
    bootIndex: object.number('boot_index'),
    source: object.text('source_type') as BlockDevice['source'],
    destination: object.text('destination_type') as BlockDevice['destination'],
    deviceName: object.text('device_name'),
    deviceType: object.text('device_type'),
    diskBus: object.text('disk_bus'),
    guestFormat: object.text('guest_format'),
    size: object.number('volume_size'),
    volumeId: object.text('volume_id'),
    imageId: object.text('image_id'),
    snapshotId: object.text('snapshot_id'),
    attachmentId: object.text('attachment_id'),
    tag: object.text('tag'),
    deleteOnTermination: object.flag('delete_on_termination') ?? false,
  };
}

/** Reads a `BlockDeviceMappingList`; mappings that say "no device" are left out. */
export function blockDevices(list: NovaObject | undefined): BlockDevice[] {
  return (list?.objects() ?? []).filter((object) => !object.flag('no_device')).map(blockDevice);
}

/** Fetches the disks of an instance. */
export async function fetchBlockDevices(conductor: Conductor, context: WireContext, instanceUuid: string): Promise<BlockDevice[]> {
  const list = await conductor.classCall(context, 'BlockDeviceMappingList', 'get_by_instance_uuid', [instanceUuid]);
  return blockDevices(list instanceof NovaObject ? list : undefined);
}

/** The root disk. */
export function rootDevice(devices: readonly BlockDevice[]): BlockDevice | undefined {
  return devices.find((device) => device.bootIndex === 0);
}

/** True if the root disk is a volume (nova/compute/utils.py `is_volume_backed_instance`). */
export function isVolumeBacked(devices: readonly BlockDevice[]): boolean {
  return rootDevice(devices)?.destination === 'volume';
}

/** Swap disks. */
export function swapDevices(devices: readonly BlockDevice[]): BlockDevice[] {
  return devices.filter((device) => device.source === 'blank' && device.destination === 'local' && device.guestFormat === 'swap');
}

/** Blank local disks that are not swap. */
export function ephemeralDevices(devices: readonly BlockDevice[]): BlockDevice[] {
  return devices.filter((device) => device.source === 'blank' && device.destination === 'local' && device.guestFormat !== 'swap');
}
