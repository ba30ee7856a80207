/**
 * Configurations as text, for tests of the loader: a small sound document, changed at single paths. Addresses, cores and
 * users of the host (one, "mail") are fixed, so that results are the same everywhere.
 */
import { stringify } from 'smol-toml'
import { checkText, type Loaded, type LoadOptions } from '../../src/config/load.ts'
import { mistakeText } from '../../src/config/mistake.ts'

type Node = { [key: string]: unknown }

/** Changes by path, e.g. { 'listener.imap.tls': 'plain' }; undefined removes. */
export type Changes = Readonly<Record<string, unknown>>

export interface CheckOptions extends LoadOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** A document that passes everything. */
export function soundDocument(): Node {
  return {
    listener: { imap: { protocol: 'imap', bind: ['127.0.0.1:1143'], tls: 'plain' } },
    destination: {
      legacy: { host: 'legacy.example.com', forwarding: 'none', protocol: { imap: { port: 143, tls: 'starttls' } } },
      stalwart: {
        host: 'stalwart.example.com',
        forwarding: 'none',
        protocol: { imap: { port: 993, tls: 'implicit' } },
      },
    },
    routing: { default_destination: 'legacy' },
    mapping: { source: 'file', file: { path: 'mappings.tsv' } },
  }
}

/** The sound document, changed. */
export function changed(changes: Changes): string {
  const document = soundDocument()
  for (const [path, value] of Object.entries(changes)) {
    const steps = path.split('.')
    const last = steps.pop() ?? ''
    let node = document
    for (const step of steps) {
      if (!isNode(node[step])) node[step] = {}
      const next: unknown = node[step]
      if (isNode(next)) node = next
    }
    if (value === undefined) delete node[last]
    else node[last] = value
  }
  return stringify(document)
}

/** Checks the changed document. */
export function checkChanged(changes: Changes, options: CheckOptions = {}): Promise<Loaded> {
  return checkText(changed(changes), undefined, options.env ?? {}, {
    localAddresses: ['192.0.2.7', '2001:db8::7'],
    cores: 3,
    accounts: {
      user: (name) => Promise.resolve(name === 'mail' ? { uid: 8, gid: 8, groups: [8] } : undefined),
      group: (name) => Promise.resolve(name === 'mail' ? 8 : undefined),
    },
    ...options,
  })
}

/** The mistakes of the changed document, each as one line; none: empty. */
export async function mistakesOf(changes: Changes, options: CheckOptions = {}): Promise<readonly string[]> {
  const loaded = await checkChanged(changes, options)
  return loaded.ok ? [] : loaded.mistakes.map(mistakeText)
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
