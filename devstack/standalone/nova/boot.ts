/** A new server: row, claim, block device, and the cast to its host (nova/conductor/manager.py `schedule_and_build_instances`). */
import { randomUUID } from 'node:crypto';
import { novaFailure } from '../cell/failures.js';
import { forBuild, instanceObject, newInstanceRow } from '../cell/instance-row.js';
import { deviceList, newDevice } from '../cell/network.js';
import { startAction } from '../cell/records.js';
import type { Row } from '../cell/table.js';
import { listOf, primitive } from '../cell/wire.js';
import type { Image } from '../rest/glance.js';
import { projectId, userId } from '../rest/keystone.js';
import { networks } from '../rest/ports.js';
import { castCompute, userContext, type Control } from './control.js';
import { flavorObject, resourcesOf, type FlavorRow } from './flavors.js';
import { candidates, claim, selection } from './scheduler.js';

/** What the user asks for. */
export interface ServerRequest { readonly name: string; readonly image: Image; readonly flavor: FlavorRow; readonly userData: string | null; readonly metadata: Record<string, string>; /** A port on each network there is, or none at all. */ readonly ports: 'auto' | 'none' }

const alternates = 3;

function networkRequests(ports: ServerRequest['ports']): Row {
  const wanted = ports === 'none' ? ['none'] : networks.map(({ id }) => id);
  return listOf('NetworkRequestList', wanted.map((id) => primitive('NetworkRequest', {
    network_id: id, address: null, port_id: null, pci_request_id: null, tag: null, arq_uuid: null, device_profile: null,
  })));
}

/** Glance's record as Nova hands it on (nova/image/glance.py `_translate_from_glance`). */
function imageForNova(image: Image): Row {
  const { id, name, status, size, checksum, min_ram, min_disk, disk_format, container_format, owner, os_hidden, os_hash_algo, os_hash_value, created_at, updated_at } = image;
  return {
    id, name, status, size, checksum, min_ram, min_disk, disk_format, container_format, owner, os_hidden, os_hash_algo, os_hash_value, created_at, updated_at,
    deleted: false, deleted_at: null, is_public: true, properties: {},
  };
}

function requestSpec(row: Row, flavor: Row): Row {
  return primitive('RequestSpec', {
    id: row['id'], instance_uuid: row['uuid'], project_id: projectId, user_id: userId, availability_zone: null, flavor, num_instances: 1, ignore_hosts: null, force_hosts: null,
    force_nodes: null, requested_destination: null, retry: null, limits: null, instance_group: null, scheduler_hints: {}, numa_topology: null, pci_requests: null, is_bfv: false,
    requested_resources: [],
  });
}

function newRow(control: Control, request: ServerRequest, flavor: Row): Row {
  const uuid = randomUUID();
  const { image, name } = request;
  return control.cell.instances.insert(newInstanceRow(uuid, {
    user_id: userId, project_id: projectId, image_ref: image.id, hostname: name.toLowerCase().replace(/[^a-z0-9-]+/g, '-').replace(/^-+|-+$/g, '') || 'server',
    vm_state: 'building', task_state: 'scheduling', memory_mb: request.flavor.ram, vcpus: request.flavor.vcpus, root_gb: request.flavor.disk, instance_type_id: request.flavor.id,
    user_data: request.userData, reservation_id: `r-${uuid.slice(0, 8)}`, availability_zone: 'nova', display_name: name, flavor, metadata: request.metadata,
    system_metadata: { image_base_image_ref: image.id, image_disk_format: image['disk_format'], image_container_format: image['container_format'], image_min_disk: '0', image_min_ram: '0' },
  }));
}

/** Makes the server and sends it to a host; without one it is in error, with a fault that says why. @returns its row */
export async function bootServer(control: Control, request: ServerRequest): Promise<Row> {
  const { cell } = control;
  const context = userContext(control);
  const flavor = flavorObject(request.flavor);
  const wanted = resourcesOf(request.flavor);
  const row = newRow(control, request, flavor);
  const uuid = String(row['uuid']);
  startAction(cell, context, uuid, 'create');
  const device = cell.blockDevices.insert(newDevice({
    instance_uuid: uuid, source_type: 'image', destination_type: 'local', device_type: 'disk', boot_index: 0, delete_on_termination: true, image_id: request.image.id,
  }));
  const hosts = candidates(control, wanted);
  const [first, ...others] = hosts;
  if (!first || !claim(control, uuid, first.provider, wanted)) {
    const failure = novaFailure('NoValidHost', { reason: 'There are not enough hosts available.' });
    cell.faults.insert({ instance_uuid: uuid, code: 500, message: failure.message, details: failure.message, host: null });
    cell.instances.update(row, { vm_state: 'error', task_state: null });
    return row;
  }
  await castCompute(control, first.host, 'build_and_run_instance', {
    instance: instanceObject(cell, row, forBuild), image: imageForNova(request.image), request_spec: requestSpec(row, flavor),
    filter_properties: { limits: {}, retry: { num_attempts: 1, hosts: [[first.host, first.node]] } },
    admin_password: '', injected_files: [], requested_networks: networkRequests(request.ports), security_groups: ['default'], block_device_mapping: deviceList([device]),
    node: first.node, limits: {}, host_list: others.slice(0, alternates).map((choice) => selection(choice, wanted)), accel_uuids: [],
  }, context);
  return row;
}
