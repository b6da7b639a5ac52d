/** The project in which the tests work, made once: a tenant of its own, so that others on the cloud neither see nor disturb it. */
import { Session } from './api.js';

/** Name of the project. */
export const projectName = 'ct';

/** What the tests build on. */
export interface Ground {
  /** Administrator, in the tests' project. */
  readonly admin: Session;
  /** Member of another project. */
  readonly demo: Session;
  readonly publicNetwork: string;
  readonly image: string;
}

interface Named { readonly id: string; readonly name: string }

let made: Promise<Ground> | undefined;

/** The ground; made at the first call. */
export function ground(): Promise<Ground> {
  made ??= make();
  return made;
}

async function make(): Promise<Ground> {
  const cloud = Session.admin();
  const [{ projects }, { roles }, { users }] = await Promise.all([
    cloud.call<{ projects: Named[] }>('keystone', 'GET', `/v3/projects?name=${projectName}`),
    cloud.call<{ roles: Named[] }>('keystone', 'GET', '/v3/roles?name=admin'),
    cloud.call<{ users: Named[] }>('keystone', 'GET', '/v3/users?name=admin'),
  ]);
  const project = projects[0] ?? (await cloud.call<{ project: Named }>('keystone', 'POST', '/v3/projects', { project: { name: projectName, domain_id: 'default' } })).project;
  await cloud.call('keystone', 'PUT', `/v3/projects/${project.id}/users/${users[0]!.id}/roles/${roles[0]!.id}`);
  const admin = Session.admin(projectName);
  const [{ networks }, { images }, groups] = await Promise.all([
    admin.call<{ networks: Named[] }>('neutron', 'GET', '/v2.0/networks?name=public'),
    admin.call<{ images: Named[] }>('glance', 'GET', '/v2/images?name=busybox'),
    admin.call<{ security_groups: Named[] }>('neutron', 'GET', `/v2.0/security-groups?name=default&project_id=${project.id}`),
  ]);
  for (const [ethertype, protocol] of [['IPv4', 'icmp'], ['IPv6', 'ipv6-icmp'], ['IPv4', 'tcp']]) {
    const answer = await admin.raw('neutron', 'POST', '/v2.0/security-group-rules', { security_group_rule: { security_group_id: groups.security_groups[0]!.id, direction: 'ingress', ethertype, protocol } });
    if (answer.status !== 201 && answer.status !== 409) throw new Error(`security group rule: ${answer.text}`);
  }
  return { admin, demo: Session.demo(), publicNetwork: networks[0]!.id, image: images[0]!.id };
}
