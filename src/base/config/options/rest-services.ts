/** The sections of the REST services (nova/conf/placement.py, neutron.py, glance.py, cinder.py, service_token.py; keystonemiddleware). */
import { boolean, integer, list, text, type Section } from '../option.js';
import { adapterOptions, authOptions, sessionOptions } from './keystoneauth.js';

/** Placement: always with the service's own credentials. */
export const placement = {
  help: 'Placement, and the credentials of this service there.',
  options: { ...authOptions, ...sessionOptions(), ...adapterOptions('placement') },
} satisfies Section;

/** Neutron. */
export const neutron = {
  help: 'Neutron, and the credentials of this service there.',
  options: {
    ovs_bridge: text({ default: 'br-int', help: 'Bridge for ports whose binding names none.' }),
    default_floating_pool: text({ default: 'nova', help: 'Pool of floating addresses.' }),
    extension_sync_interval: integer({ default: 600, min: 0, help: 'Seconds for which the list of extensions is kept.' }),
    physnets: list({ default: [], help: 'Physical networks with NUMA affinity. Haulier ignores it.' }),
    http_retries: integer({ default: 3, min: 0, help: 'How often a request is repeated after a connection error.' }),
    service_metadata_proxy: boolean({ default: false, help: 'Whether neutron proxies the metadata service (nova-api reads it).' }),
    metadata_proxy_shared_secret: text({ default: '', secret: true, help: 'Secret between neutron\'s proxy and nova-api.' }),
    ...authOptions, ...sessionOptions(), ...adapterOptions('network'),
  },
} satisfies Section;

/** Glance: the user's token; the service's own credentials where there is none. */
export const glance = {
  help: 'Glance.',
  options: {
    api_servers: list({ help: 'Endpoints to use in turn instead of the catalog\'s.' }),
    num_retries: integer({ default: 3, min: 0, help: 'How often a download or request is tried again.' }),
    enable_certificate_validation: boolean({ default: false, help: 'Validate the certificates of signed images.' }),
    verify_glance_signatures: boolean({ default: false, help: 'Refuse images without a valid signature.' }),
    default_trusted_certificate_ids: list({ default: [], help: 'Certificates trusted where the user names none.' }),
    debug: boolean({ default: false, help: 'Log requests to glance at level debug.' }),
    ...authOptions,
    ...sessionOptions({ cafile: ['ssl.ca_file'], certfile: ['ssl.cert_file'], keyfile: ['ssl.key_file'], insecure: ['api_insecure'] }),
    ...adapterOptions('image'),
  },
} satisfies Section;

/** Cinder. */
export const cinder = {
  help: 'Cinder.',
  options: {
    catalog_info: text({ default: 'volumev3::publicURL', help: 'service_type:service_name:endpoint_type to look for in the catalog.' }),
    endpoint_template: text({ help: 'Endpoint URL with %(project_id)s, instead of the catalog\'s.' }),
    os_region_name: text({ help: 'Region of the endpoint.' }),
    http_retries: integer({ default: 3, min: 0, help: 'How often a request is repeated after a connection error.' }),
    cross_az_attach: boolean({ default: true, help: 'Volumes of other availability zones may be attached.' }),
    ...authOptions, ...sessionOptions(),
  },
} satisfies Section;

/** The service token beside the user's. */
export const service_user = {
  help: 'The service token that goes beside the user\'s token.',
  options: {
    send_service_user_token: boolean({ default: false, help: 'Send it. Needed to detach volumes, and for operations that outlast the user\'s token.' }),
    ...authOptions, ...sessionOptions(),
  },
} satisfies Section;

/** What nova-api verifies tokens with; its credentials are the last resort here. */
export const keystone_authtoken = {
  help: 'Credentials with which nova-api verifies tokens. Haulier does not verify tokens.',
  options: {
    www_authenticate_uri: text({ deprecated: ['auth_uri'], help: 'Public URL of keystone.' }),
    region_name: text({ help: 'Region of keystone.' }),
    interface: text({ default: 'internal', help: 'Interface of keystone\'s endpoint.' }),
    service_token_roles: list({ default: ['service'], help: 'Roles of which a service token must have one.' }),
    service_token_roles_required: boolean({ default: false, help: 'Whether that is enforced.' }),
    ...authOptions,
    cafile: sessionOptions().cafile,
    certfile: sessionOptions().certfile,
    keyfile: sessionOptions().keyfile,
    insecure: sessionOptions().insecure,
  },
} satisfies Section;
