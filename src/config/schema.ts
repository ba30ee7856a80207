/**
 * The whole configuration: every table with its keys, in the order in which the documentation shows them. This list
 * is the only source of what is known, what is default and what is documented.
 */
import { ADMIN, CLUSTER } from './schema-admin.ts'
import { CAPABILITIES, OAUTH } from './schema-capabilities.ts'
import { DESTINATION, LEG } from './schema-destination.ts'
import { HTTP, HTTP_EXTRACT, HTTP_ROUTE } from './schema-http.ts'
import { LISTENER } from './schema-listener.ts'
import { MAPPING, MAPPING_FILE, MAPPING_REDIS, MAPPING_SQL, ROUTING } from './schema-mapping.ts'
import { LIMITS, LOG, SERVER } from './schema-server.ts'
import { CERTIFICATE, TLS, TLS_PROTOCOLS } from './schema-tls.ts'
import type { TableDefinition } from './schema-table.ts'

export const TABLES: readonly TableDefinition[] = [
  SERVER,
  TLS,
  CERTIFICATE,
  TLS_PROTOCOLS,
  LISTENER,
  DESTINATION,
  LEG,
  ROUTING,
  MAPPING,
  MAPPING_FILE,
  MAPPING_REDIS,
  MAPPING_SQL,
  ...CAPABILITIES,
  OAUTH,
  HTTP,
  HTTP_ROUTE,
  HTTP_EXTRACT,
  ADMIN,
  CLUSTER,
  LIMITS,
  LOG,
]
