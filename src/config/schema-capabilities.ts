/** [capabilities.<protocol>] and [oauth]: what is said and understood before a backend is known. */
import { ATOMS, BANNER, FLAG, ID_FIELDS, KEYWORD_LINES, SASL_MECHANISMS, TEXT } from './format-values.ts'
import { setting, optional, type TableDefinition, type TableSchema } from './schema-table.ts'

export const MECHANISMS = ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'] as const

/** The keys that all four have. */
function common(banner: string): TableSchema {
  return {
    sasl: setting(MECHANISMS, SASL_MECHANISMS, 'Mechanisms offered and accepted.'),
    allow_plain_auth_without_tls: setting(false, FLAG, 'Offer and accept passwords on a connection without TLS.'),
    banner: setting(banner, BANNER, 'Text of the greeting.'),
  }
}

export const CAPABILITIES: readonly TableDefinition[] = [
  {
    path: 'capabilities.imap',
    doc: 'What imap clients are told before login. It must be true of every destination.',
    schema: {
      ...common('Signalbox ready'),
      advertise: setting(
        ['IMAP4rev1', 'SASL-IR', 'LITERAL-', 'ID', 'ENABLE'],
        ATOMS,
        'Capabilities; AUTH=…, STARTTLS and LOGINDISABLED are added where they are true.',
      ),
      id: optional(
        ID_FIELDS,
        'Fields of the answer to ID; unset: NIL.',
        { added: true, example: '{ name = "Signalbox" }' },
      ),
    },
  },
  {
    path: 'capabilities.pop3',
    doc: 'What pop3 clients are told before login.',
    schema: {
      ...common('Signalbox ready'),
      capa: setting(
        ['TOP', 'UIDL', 'RESP-CODES', 'AUTH-RESP-CODE', 'PIPELINING'],
        KEYWORD_LINES,
        'Capabilities; USER, SASL, STLS and IMPLEMENTATION are added where they are true.',
        { added: true },
      ),
    },
  },
  {
    path: 'capabilities.submission',
    doc: 'What submission clients are told before login. They do not ask again after it.',
    schema: {
      ...common('ESMTP Signalbox'),
      ehlo: setting(
        ['ENHANCEDSTATUSCODES', '8BITMIME', 'PIPELINING', 'SIZE'],
        KEYWORD_LINES,
        'Keywords of the answer to EHLO; AUTH and STARTTLS are added where they are true.',
      ),
    },
  },
  {
    path: 'capabilities.managesieve',
    doc: 'What managesieve clients are told before login.',
    schema: {
      ...common('Signalbox ready'),
      sieve: setting(
        [
          'fileinto',
          'reject',
          'envelope',
          'vacation',
          'imap4flags',
          'copy',
          'variables',
          'relational',
          'regex',
          'subaddress',
          'body',
          'include',
          'date',
        ],
        ATOMS,
        'Sieve extensions.',
      ),
      implementation: setting('Signalbox', BANNER, 'Name of the implementation.'),
    },
  },
]

export const OAUTH: TableDefinition = {
  path: 'oauth',
  doc: 'Accounts from bearer tokens.',
  schema: {
    jwt_username_claim: setting('email', TEXT, 'Claim of a token that is tried first for the account.'),
  },
}
