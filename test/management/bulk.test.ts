import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, beforeEach, describe, test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import { ADMIN_BODY_SILENCE_MS, ADMIN_LINGER_MS, ADMIN_PROGRESS_MS, ADMIN_STREAM, MAPPING_LINE } from '../../src/limits.ts'
import { TestManagement, readAll } from '../support/management.ts'
import { eventually } from '../support/settled.ts'
import type { Reply } from '../support/management.ts'

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The lines of an import's answer. */
function told(reply: Reply): Record<string, unknown>[] {
  assert.equal(reply.status, 200, reply.text)
  assert.equal(reply.headers['content-type'], 'application/x-ndjson; charset=utf-8')
  return reply.text.trimEnd().split('\n').map((line) => JSON.parse(line))
}

describe('the mappings as a whole, over the management API', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start({ lockoutThreshold: 0 })
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.mappings.clear()
    api.operations.failure = undefined
    api.operations.gate = Promise.resolve()
    api.operations.calls.length = 0
    api.audits.length = 0
  })

  const fill = (count: number): void => {
    for (let i = 0; i < count; i++) api.operations.mappings.set(`user${String(i).padStart(5, '0')}`, i % 2 === 0 ? 'old' : 'new')
  }
  const importing = (body: string | Buffer, query = '', headers: Record<string, string> = {}): Promise<Reply> =>
    api.ask('POST', `/mappings/import${query}`, { body, headers })

  test('pages follow each other by their cursors, and the last one says that it is', async () => {
    fill(205)
    const seen: unknown[] = []
    let query = ''
    for (let pages = 1; ; pages++) {
      const { json } = await api.ask('GET', `/mappings/list${query}`)
      assert.ok(typeof json === 'object' && json !== null && 'mappings' in json && Array.isArray(json.mappings) && 'cursor' in json)
      seen.push(...json.mappings)
      if (json.cursor === null) {
        assert.equal(pages, 3)
        break
      }
      query = `?cursor=${encodeURIComponent(typeof json.cursor === 'string' ? json.cursor : '')}`
    }
    assert.deepEqual(seen, [...api.operations.mappings].map(([identifier, destination]) => ({ identifier, destination })))
  })

  test('a page takes a prefix (normalised), a destination and a limit', async () => {
    fill(30)
    const { json } = await api.ask('GET', '/mappings/list?prefix=USER0001&destination=new&limit=3')
    assert.deepEqual(json, {
      mappings: ['user00011', 'user00013', 'user00015'].map((identifier) => ({ identifier, destination: 'new' })),
      cursor: 'user00015',
    })
    assert.deepEqual((await api.ask('GET', '/mappings/list?destination=nowhere')).json, { mappings: [], cursor: null })
    const wrong: readonly (readonly [string, string])[] = [
      ['limit=0', 'limit'],
      ['limit=1001', 'limit'],
      ['limit=', 'limit'],
      ['limit=1e2', 'limit'],
      ['limit=-1', 'limit'],
      ['cursor=', 'cursor'],
      ['cursor=%00', 'cursor'],
      [`cursor=${'x'.repeat(513)}`, 'cursor'],
      ['prefix=', 'prefix'],
      ['prefix=a&prefix=a', 'prefix'],
      ['destination=', 'destination'],
    ]
    for (const [query, parameter] of wrong) {
      const reply = await api.askJson('GET', `/mappings/list?${query}`)
      assert.equal(reply.status, 400, query)
      assert.ok(typeof reply.json === 'object' && reply.json !== null && 'parameter' in reply.json && reply.json.parameter === parameter, reply.text)
    }
  })

  test('the summary counts accounts per destination, and names what nobody declared', async () => {
    fill(5)
    api.operations.mappings.set('x', 'moon')
    assert.deepEqual((await api.ask('GET', '/mappings/summary')).json, {
      source: 'file',
      accounts: 6,
      destinations: [
        { destination: 'old', accounts: 3, declared: true },
        { destination: 'new', accounts: 2, declared: true },
        { destination: 'moon', accounts: 1, declared: false },
      ],
    })
  })

  test('what is exported can be imported again', async () => {
    fill(10_000)
    const reply = await api.ask('GET', '/mappings/export')
    assert.equal(reply.headers['content-type'], 'text/tab-separated-values; charset=utf-8')
    assert.equal(reply.text.split('\n').length, 10_001)
    api.operations.mappings.clear()
    const { result, added } = told(await importing(reply.text)).at(-1) ?? {}
    assert.deepEqual([result, added, api.operations.mappings.size], ['imported', 10_000, 10_000])
    assert.equal((await api.ask('GET', '/mappings/export?prefix=user0000&destination=new')).text.split('\n').length, 6)
    assert.equal((await api.ask('HEAD', '/mappings/export')).text, '')
  })

  test('a source that cannot list says so with a status of its own', async () => {
    api.operations.failure = new SignalboxError('SOURCE_READ_ONLY', 'it can look mappings up but not list them')
    for (const path of ['/mappings/list', '/mappings/summary', '/mappings/export', '/mappings/import?mode=replace']) {
      const reply = await api.askJson(path.includes('import') ? 'POST' : 'GET', path, path.includes('import') ? { body: 'a\told\n' } : {})
      assert.equal(reply.status, 501, path)
      assert.match(reply.text, /not list them/)
    }
  })

  test('an export is made no faster than it is read, and not at all for a client that has gone', async () => {
    let given = 0
    const end = Promise.withResolvers<void>()
    const { list } = api.operations.bulk
    Object.assign(api.operations.bulk, {
      list: async function* endless() {
        try {
          for (; ; given++) {
            if (given % 1_000 === 0) await soon()
            yield { identifier: `user${given}`, destination: 'old' }
          }
        } finally {
          end.resolve()
        }
      },
    })
    try {
      const socket = await api.connect()
      socket.on('error', () => {})
      socket.write(`GET /mappings/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n\r\n`)
      await once(socket, 'data')
      socket.pause()
      // Until it stands still: what buffers on the way hold is some megabytes.
      for (let before = -1, still = 0; still < 2_000; await soon()) {
        still = before === given ? still + 1 : 0
        before = given
        assert.ok(given < 20_000_000, 'it goes on although nobody reads')
      }
      socket.destroy()
      await end.promise
    } finally {
      Object.assign(api.operations.bulk, { list })
    }
  })

  test('an import says what it did, line by line, and the audit has one line of it', async () => {
    fill(2)
    const lines = told(await importing('\ufeff# comment\r\nUSER00000\told\r\n\nuser00001 old more\nnew1\tnew\n'))
    assert.deepEqual(lines[0], { phase: 'checked', lines: 5, mappings: 3, bytes: 58, further_fields: 1 })
    const { workers, bus, ...last } = lines.at(-1) ?? {}
    assert.deepEqual([workers, bus], [2, 'none'])
    assert.deepEqual(
      { ...last, peers: undefined, unconfirmed: undefined, workers_expected: undefined },
      { result: 'imported', mode: 'merge', dry_run: false, added: 1, changed: 1, removed: 0, unchanged: 1, peers: undefined, unconfirmed: undefined, workers_expected: undefined },
    )
    assert.equal(api.audits.length, 1)
    const [{ change, outcome, facts, confirmation } = { change: '', outcome: '', facts: {}, confirmation: undefined }] = api.audits
    assert.deepEqual([change, outcome], ['mapping_import', 'ok'])
    assert.deepEqual(facts, { mode: 'merge', dry_run: false, added: 1, changed: 1, removed: 0, unchanged: 1 })
    assert.deepEqual(confirmation, api.operations.confirmation)
  })

  test('replacing removes what the import lacks; a dry run changes nothing', async () => {
    fill(3)
    const dry = told(await importing('a\tnew\nuser00000\told\n', '?mode=replace&dry_run=true')).at(-1)
    assert.deepEqual(dry, { result: 'would be imported', mode: 'replace', dry_run: true, added: 1, changed: 0, removed: 2, unchanged: 1 })
    assert.equal(api.operations.mappings.size, 3)
    told(await importing('a\tnew\nuser00000\told\n', '?mode=replace&dry_run=false'))
    assert.deepEqual([...api.operations.mappings], [['user00000', 'old'], ['a', 'new']])
  })

  test('lines with mistakes are named, and nothing changes', async () => {
    const wrong = `good\tnew\nbad\n${'x'.repeat(MAPPING_LINE + 1)}\ta\n"q"\tnew\n\xffa\tnew\nb\tmoon\n`
    const reply = await api.askJson('POST', '/mappings/import', { body: Buffer.from(wrong, 'latin1') })
    assert.equal(reply.status, 422)
    assert.deepEqual(reply.json, {
      error: '5 lines are wrong, nothing has changed',
      code: 'SOURCE_INVALID',
      mistakes: [
        { line: 2, message: 'fewer than two fields' },
        { line: 3, message: `longer than ${MAPPING_LINE} bytes` },
        { line: 4, message: 'the name holds a control character, a space or a double quote' },
        { line: 5, message: 'not valid UTF-8' },
        { line: 6, message: 'destination "moon" is not declared' },
      ],
      more: 0,
    })
    assert.deepEqual([...api.operations.mappings], [])
    assert.deepEqual(api.audits.map(({ outcome, status }) => [outcome, status]), [['SOURCE_INVALID', 422]])
    const many = await importing('bad\n'.repeat(25))
    assert.equal(many.text.split('\n').length, 23)
    assert.match(many.text, /^25 lines are wrong, nothing has changed\nline 1: fewer than two fields\n[^]*\nand 5 more\n$/)
  })

  test('whatever the body claims to be, it is read as lines; compressed ones are refused', async () => {
    for (const type of ['application/json', 'nonsense', '', 'multipart/form-data; boundary=x']) {
      told(await importing('a\tnew\n', '', { 'content-type': type }))
    }
    assert.equal((await importing('{"a":"new"}\n', '', { 'content-type': 'application/json' })).status, 422)
    assert.equal((await importing('a\tnew\n', '', { 'content-encoding': 'gzip' })).status, 415)
    told(await importing('a\tnew\n', '', { 'content-encoding': 'identity' }))
    told(await importing('', '?dry_run=true'))
  })

  test('parameters that are none are named, before the body is read', async () => {
    for (const query of ['mode=', 'mode=Merge', 'mode=merge&mode=merge', 'mode=%00', 'dry_run=', 'dry_run=yes']) {
      const reply = await api.askJson('POST', `/mappings/import?${query}`, { body: 'a\tnew\n'.repeat(100_000) })
      assert.equal(reply.status, 400, query)
      assert.match(reply.text, /"parameter":"(mode|dry_run)"/)
    }
    assert.deepEqual([...api.operations.mappings], [])
  })

  const head = (...lines: string[]): string =>
    ['POST /mappings/import HTTP/1.1', 'Host: x', `Authorization: Bearer ${api.token}`, ...lines, '', ''].join('\r\n')

  test(`a body of ${ADMIN_STREAM} bytes may be announced, one byte more is refused; the rest of it is read for a while`, async () => {
    const socket = await api.connect()
    const read = readAll(socket)
    const timers = api.clock.pending
    socket.write(head(`Content-Length: ${ADMIN_STREAM + 1}`))
    while (api.clock.pending <= timers) await soon()
    const lingering = api.clock.pending
    api.clock.advance(ADMIN_LINGER_MS - 1)
    assert.equal(api.clock.pending, lingering)
    api.clock.advance(1)
    const answer = await read
    assert.ok(answer.startsWith('HTTP/1.1 413 ') && answer.endsWith(`the body is larger than ${ADMIN_STREAM} bytes\n`), answer)
    assert.match(answer, /\r\nconnection: close\r\n/i)

    api.audits.length = 0
    const taken = await api.connect()
    const before = api.clock.pending
    taken.write(head(`Content-Length: ${ADMIN_STREAM}`))
    await eventually(() => api.clock.pending > before, 'its first byte is waited for')
    taken.destroy()
    await eventually(() => api.audits.length > 0, 'its end')
    assert.deepEqual(api.audits.map(({ outcome }) => outcome), ['CLIENT_CLOSED'])
  })

  test('a request without the right token gets its 401 while its body is still coming, and is read no further', async () => {
    const socket = await api.connect()
    const answer = readAll(socket)
    socket.write(head('Transfer-Encoding: chunked').replace(api.token, 'wrong'))
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    const timers = api.clock.pending
    socket.write(chunk)
    while (api.clock.pending <= timers) await soon()
    api.clock.advance(ADMIN_LINGER_MS)
    assert.match(await answer, /^HTTP\/1\.1 401 /)
  })

  test('a body may keep us waiting for ADMIN_BODY_SILENCE_MS, and no longer', async () => {
    const socket = await api.connect()
    const answer = readAll(socket)
    const timers = api.clock.pending
    socket.write(head('Content-Length: 100'))
    while (api.clock.pending <= timers) await soon()
    const waiting = api.clock.pending
    api.clock.advance(ADMIN_BODY_SILENCE_MS - 1)
    assert.equal(api.clock.pending, waiting)
    api.clock.advance(1)
    assert.ok(api.clock.pending < waiting)
    for (let i = 0; i < 2_000 && !socket.closed; i++) {
      api.clock.advance(ADMIN_LINGER_MS)
      await soon()
    }
    assert.match(await answer, /^HTTP\/1\.1 408 /)
  })

  test('a body from which nothing comes any more is 408, and nothing changes', async () => {
    const socket = await api.connect()
    const answer = readAll(socket)
    const timers = api.clock.pending
    socket.write(`${head('Content-Length: 100')}a\tnew\n`)
    while (api.clock.pending <= timers) await soon()
    // The body's patience, then that with the rest of it.
    for (let i = 0; i < 2_000 && !socket.closed; i++) {
      api.clock.advance(ADMIN_BODY_SILENCE_MS)
      await soon()
    }
    assert.match(await answer, /^HTTP\/1\.1 408 [^]*nothing came of the body for 30 s\n$/)
    assert.deepEqual([...api.operations.mappings], [])
  })

  test('a body that breaks off changes nothing, with announced length or in chunks', async () => {
    for (const framed of ['Content-Length: 100\r\n\r\na\tnew\n', 'Transfer-Encoding: chunked\r\n\r\n6\r\na\tnew\n\r\n']) {
      const socket = await api.connect()
      socket.on('error', () => {})
      const timers = api.clock.pending
      socket.write(head().replace(/\r\n\r\n$/, `\r\n${framed}`))
      while (api.clock.pending <= timers) await soon()
      socket.destroy()
      while (api.audits.length === 0) await soon()
      assert.deepEqual(api.audits.map(({ outcome }) => outcome), ['CLIENT_CLOSED'])
      api.audits.length = 0
    }
    assert.deepEqual([...api.operations.mappings], [])
  })

  test('an import whose end has not come when the instance begins to shut down is refused, and nothing changes; so is every one after', async () => {
    const socket = await api.connect()
    let seen = ''
    socket.on('data', (chunk: Buffer) => (seen += chunk.toString()))
    socket.on('error', () => {})
    const timers = api.clock.pending
    socket.write(head().replace(/\r\n\r\n$/, '\r\nContent-Length: 100\r\n\r\na\tnew\n'))
    while (api.clock.pending <= timers) await soon()
    api.operations.ending.abort()
    while (api.audits.length === 0) await soon()
    assert.deepEqual(api.audits.map(({ outcome, status }) => [outcome, status]), [['DRAINING', 503]])
    while (!seen.includes('shutting down')) await soon()
    assert.match(seen, /^HTTP\/1\.1 503 /)
    assert.equal((await api.ask('POST', '/mappings/import', { body: 'a\tnew\n' })).status, 503)
    assert.deepEqual([...api.operations.mappings], [])
    socket.destroy()
    api.operations.ending = new AbortController()
    api.audits.length = 0
  })

  test('an import that has begun goes on without its client, and is told of meanwhile', async () => {
    const gate = Promise.withResolvers<void>()
    api.operations.gate = gate.promise
    const socket = await api.connect()
    let seen = ''
    socket.on('data', (chunk: Buffer) => (seen += chunk.toString()))
    socket.on('error', () => {})
    const timers = api.clock.pending
    socket.write(`${head('Content-Length: 6')}a\tnew\n`)
    await eventually(() => seen.includes('"phase":"checked"') && api.clock.pending === timers + 1, 'the pause before its first progress')
    api.clock.advance(ADMIN_PROGRESS_MS - 1)
    assert.equal(api.clock.pending, timers + 1, 'it is not over')
    api.clock.advance(1)
    await eventually(() => seen.includes('"phase":"writing"'), 'the progress')
    socket.destroy()
    await once(socket, 'close')
    gate.resolve()
    while (api.audits.length === 0) await soon()
    assert.deepEqual([...api.operations.mappings], [['a', 'new']])
    assert.equal(api.audits[0]?.outcome, 'ok')
  })

  test('a failure after the check is the last line; one that leaves no room is 507', async () => {
    const { bulk } = api.operations
    const { import: before } = bulk
    const fails = (error: unknown, late: boolean): void => {
      Object.assign(bulk, {
        import: async (body: AsyncIterable<Uint8Array>, options: Parameters<typeof before>[1]) => {
          for await (const _ of body);
          if (late) options.checked({ lines: 1, mappings: 1, bytes: 1, furtherFields: 0 })
          throw error
        },
      })
    }
    try {
      fails(new SignalboxError('SOURCE_UNAVAILABLE', 'the database went away'), true)
      assert.deepEqual(told(await importing('a\tnew\n')).at(-1), { error: 'the database went away', code: 'SOURCE_UNAVAILABLE' })
      assert.deepEqual(api.audits.map(({ outcome, status }) => [outcome, status]), [['SOURCE_UNAVAILABLE', 503]])
      fails(new TypeError('a defect'), true)
      assert.match(String(told(await importing('a\tnew\n')).at(-1)?.['error']), /^internal error, see the log for /)
      fails(new SignalboxError('SOURCE_WRITE', 'not written', { cause: Object.assign(new Error('full'), { code: 'ENOSPC' }) }), false)
      assert.equal((await importing('a\tnew\n')).status, 507)
      fails(new SignalboxError('SOURCE_INVALID', 'the import holds no mapping'), false)
      const none = await api.askJson('POST', '/mappings/import', { body: '' })
      assert.deepEqual([none.status, none.json], [422, { error: 'the import holds no mapping', code: 'SOURCE_INVALID', mistakes: [], more: 0 }])
      fails(new SignalboxError('SOURCE_CONFLICT', 'another import is under way at this instance'), false)
      assert.equal((await importing('a\tnew\n')).status, 409)
    } finally {
      Object.assign(bulk, { import: before })
    }
  })
})
