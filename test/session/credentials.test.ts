/**
 * Nothing of a login outlives its attempt: once the session is bridged, neither the login's objects nor the password can be
 * reached from it. The collector is asked, since it sees what no walk over properties does: private fields, closures,
 * suspended functions.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Login, PreauthPort } from '../../src/protocol/protocol.ts'
import { eventually } from '../support/settled.ts'
import { FewWords, sessionRig } from './rig.ts'
import type { SessionRig } from './rig.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Rigs a session whose dialogue and logins can be asked for without holding them. */
async function watched(): Promise<{ rig: SessionRig; dialogue: () => unknown; logins: WeakRef<object>[] }> {
  const logins: WeakRef<object>[] = []
  let dialogue: WeakRef<FewWords> | undefined
  const rig = await sessionRig({
    preauth: (port) => {
      const spied: PreauthPort = {
        write: (bytes) => port.write(bytes),
        startTls: () => port.startTls(),
        respond: (answer) => port.respond(answer),
        deny: (answer, final) => port.deny(answer, final),
        close: (last, error) => port.close(last, error),
        login: (login: Login) => {
          logins.push(new WeakRef(login), new WeakRef(login.credentials))
          if (login.credentials.kind === 'password') logins.push(new WeakRef(login.credentials.password))
          port.login(login)
        },
      }
      const made = new FewWords(spied)
      dialogue = new WeakRef(made)
      return made
    },
  })
  return { rig, dialogue: () => dialogue?.deref(), logins }
}

async function collected(gone: () => boolean, what: string): Promise<void> {
  await eventually(() => {
    collect()
    return gone()
  }, what)
}

test('once a session is bridged, its logins and its dialogue are garbage, the refused ones too', async () => {
  const { rig, dialogue, logins } = await watched()
  const refused = await rig.toReplay('a')
  refused.refuse()
  await eventually(() => refused.destroyed, 'refused')
  await eventually(() => rig.box.clock.pending > 0, 'the delay')
  rig.box.clock.advance(1_000)
  await eventually(() => rig.client.received.endsWith('NO\n'), 'the refusal')
  await rig.toBridge('b')
  assert.equal(logins.length, 6)
  await collected(() => logins.every((login) => login.deref() === undefined), 'the logins are collected')
  await collected(() => dialogue() === undefined, 'the dialogue is collected')
  assert.equal(rig.closed, undefined, 'the session still lives')
  rig.client.socket.resetAndDestroy()
  await rig.ends()
})

test('while a login is on its way it is held: the check above can fail', async () => {
  const { rig, dialogue, logins } = await watched()
  await rig.toDial('a')
  for (let round = 0; round < 5; round++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(logins.every((login) => login.deref() !== undefined))
  assert.notEqual(dialogue(), undefined)
  await rig.kick('a')
  await rig.ends()
})

test('a walk over everything that a bridged session and its report hold meets no byte of the password', async () => {
  const rig = await sessionRig()
  await rig.toBridge('a')
  const seen = new Set<unknown>()
  const walk = (value: unknown): void => {
    if (typeof value === 'string') assert.ok(!value.includes('secret'))
    if (typeof value !== 'object' || value === null || seen.has(value)) return
    seen.add(value)
    if (value instanceof Uint8Array) assert.ok(!Buffer.from(value).includes('secret'))
    for (const key of Reflect.ownKeys(value)) walk(Reflect.get(value, key))
  }
  // Not what the test itself sent.
  walk([rig.session.profile, rig.session.connection.id, rig.facts, rig.told, rig.session.account, rig.session.bridgedTo])
  rig.client.socket.resetAndDestroy()
  walk(await rig.ends())
})
