import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { test } from 'node:test'
import { hostAccounts } from '../../src/config/accounts.ts'

test('the user who runs this is known, with number and groups', async () => {
  const { username, uid, gid } = userInfo()
  const account = await hostAccounts.user(username)
  assert.deepEqual([account?.uid, account?.gid], [uid, gid])
  assert.ok(account?.groups.includes(gid))
})

test('who is not there is not there, whatever the name looks like', async () => {
  for (const name of ['nobody-of-the-kind', '-u', '--help', 'a b', '$(id)']) {
    assert.equal(await hostAccounts.user(name), undefined, name)
    assert.equal(await hostAccounts.group(name), undefined, name)
  }
})

test('groups are known by name and by number', async () => {
  const root = await hostAccounts.group('daemon')
  assert.equal(typeof root, 'number')
  assert.equal(await hostAccounts.group('4711'), 4711)
})
