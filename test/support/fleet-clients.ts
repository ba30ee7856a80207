/** Clients of a fleet that log the same accounts in over and over, through all instances, and count where they land. */
import assert from 'node:assert/strict'
import { systemClock } from '../../src/clock.ts'
import { until } from './fleet-rig.ts'
import type { FleetMember } from './fleet-rig.ts'
import type { WireClient } from './wire-client.ts'

const PAUSE_MS = 5

export class FleetClients {
  /** Servers by name; `refused`: told to come again; `dropped`: the connection ended before an answer. */
  readonly landed = { old: 0, new: 0, elsewhere: 0, refused: 0, dropped: 0 }
  readonly #running: Promise<void>[]
  #ended = false

  constructor(members: readonly FleetMember[], users: readonly string[]) {
    this.#running = members.map(async (member) => {
      for (let turn = 0; !this.#ended; turn++) {
        await this.#logIn(member, users[turn % users.length] ?? '')
        await systemClock.sleep(PAUSE_MS)
      }
    })
  }

  /** Waits for that many more logins that land on `where`. */
  async more(where: keyof FleetClients['landed'], count: number): Promise<void> {
    const from = this.landed[where]
    await until(`${count} more logins on ${where}`, () => this.landed[where] >= from + count)
  }

  async stop(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#running)
  }

  async #logIn(member: FleetMember, user: string): Promise<void> {
    let client: WireClient | undefined
    try {
      client = await member.greeted()
      const answer = await client.command(`a LOGIN ${user} secret`, 20_000)
      const [, name] = /welcome to (\w+)/.exec(answer) ?? []
      if (name === 'old' || name === 'new' || name === 'elsewhere') this.landed[name]++
      else {
        assert.match(answer, /^a NO \[UNAVAILABLE\]/m)
        this.landed.refused++
      }
    } catch (error) {
      // Without a connection that ended it is a failure of the proxy's, or of ours.
      if (client?.ended === false) throw error
      this.landed.dropped++
    } finally {
      client?.destroy()
    }
  }
}
