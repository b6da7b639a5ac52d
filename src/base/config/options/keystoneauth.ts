/** The options that keystoneauth gives to every section with a REST client (keystoneauth1.loading; nova/conf/utils.py). */
import { boolean, float, integer, list, text, type Option } from '../option.js';

type MaybeText = Option<string | undefined>;
const credential = (help: string, deprecated: readonly string[] = []): MaybeText => text({ help, deprecated, auth: true });

/** Where the credentials of a section come from. `auth_section` borrows those of another section (one step, not a chain). */
export const authOptions = {
  auth_section: text({ help: 'Section from which the auth options are taken instead of from this one.' }),
  auth_type: credential('Kind of credentials: password, v3password or v3applicationcredential.', ['auth_plugin']),
  auth_url: credential('Keystone\'s URL.'),
  username: credential('User name.', ['user-name', 'user_name']),
  user_id: credential('User id.'),
  password: text({ help: 'Password.', secret: true, auth: true }),
  user_domain_name: credential('Domain name of the user.'),
  user_domain_id: credential('Domain id of the user.'),
  project_name: credential('Project to scope to, by name.', ['tenant-name', 'tenant_name']),
  project_id: credential('Project to scope to, by id.', ['tenant-id', 'tenant_id']),
  project_domain_name: credential('Domain name of the project.'),
  project_domain_id: credential('Domain id of the project.'),
  default_domain_name: credential('Domain name for user and project where theirs is not given.'),
  default_domain_id: credential('Domain id for user and project where theirs is not given.'),
  domain_name: credential('Domain to scope to, by name.'),
  domain_id: credential('Domain to scope to, by id.'),
  system_scope: credential('`all` to scope to the system.'),
  trust_id: credential('Trust to scope to.'),
  application_credential_id: credential('Application credential, by id.'),
  application_credential_name: credential('Application credential, by name.'),
  application_credential_secret: text({ help: 'Secret of the application credential.', secret: true, auth: true }),
};

/** The connection. `deprecated` are older names of some of them. */
export const sessionOptions = (deprecated: { readonly [name: string]: readonly string[] } = {}) => ({
  cafile: text({ help: 'PEM file with the certificate authorities to trust.', deprecated: deprecated.cafile }),
  certfile: text({ help: 'PEM file with the client certificate.', deprecated: deprecated.certfile }),
  keyfile: text({ help: 'PEM file with the client key.', deprecated: deprecated.keyfile }),
  insecure: boolean({ default: false, help: 'Do not verify the server\'s certificate.', deprecated: deprecated.insecure }),
  timeout: integer({ help: 'Seconds until a request is given up; none by default.' }),
});

/** The endpoint: taken from the catalog unless overridden. */
export const adapterOptions = <const S extends string>(serviceType: S) => ({
  service_type: text({ default: serviceType, help: 'Service type to look for in the catalog.' }),
  service_name: text({ help: 'Service name to look for in the catalog.' }),
  valid_interfaces: list({ default: ['internal', 'public'], help: 'Interfaces of the endpoint, the preferred one first.' }),
  region_name: text({ help: 'Region of the endpoint.' }),
  endpoint_override: text({ help: 'Endpoint URL to use instead of the catalog\'s.' }),
  connect_retries: integer({ help: 'How often a failed connection is tried again.' }),
  connect_retry_delay: float({ help: 'Seconds between such tries; growing by default.' }),
  status_code_retries: integer({ help: 'How often a request is repeated after an answer like 503.' }),
  status_code_retry_delay: float({ help: 'Seconds between such tries; growing by default.' }),
});
