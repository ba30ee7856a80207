/**
 * Who may ask. Every request passes here before anything else is looked at, but for the open routes: lockout first, so
 * that a locked-out address learns nothing about the token it tries, then the token.
 */
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../clock.ts'
import type { AdminConfig } from '../config/config.ts'
import { managementRefused } from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { addressText } from '../listener/address.ts'
import { failure } from './answer.ts'
import type { Answer } from './answer.ts'
import { Lockout } from './lockout.ts'
import { tokenCheck } from './token.ts'

/** Undefined: admitted. Otherwise the answer to give. */
export type Guard = (request: IncomingMessage) => Answer | undefined

export function createGuard(admin: AdminConfig, clock: Clock, log: Logger): Guard {
  const token = tokenCheck(admin.token)
  const lockout = new Lockout({ clock, threshold: admin.lockoutThreshold, duration: admin.lockoutDuration })
  return (request) => {
    const address = request.socket.remoteAddress
    const wait = lockout.remaining(address)
    if (wait > 0) {
      return failure(429, 'LOCKED_OUT', `too many failed attempts, try again in ${wait} s`, { 'Retry-After': String(wait) })
    }
    const verdict = token.check(request.headersDistinct['authorization'] ?? [])
    if (verdict === 'right') {
      lockout.succeeded(address)
      return undefined
    }
    const { failures, locked } = lockout.failed(address)
    managementRefused(log, {
      client: addressText(address),
      reason: verdict,
      failures,
      ...(locked ? { locked_seconds: Math.ceil(admin.lockoutDuration / 1000) } : {}),
    })
    const sentence = verdict === 'missing' ? 'a bearer token is required' : 'the bearer token is not valid'
    return failure(401, 'UNAUTHORIZED', sentence, { 'WWW-Authenticate': 'Bearer realm="signalbox"' })
  }
}
