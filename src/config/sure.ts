/**
 * Values of checked sections, without their "undefined": what the checks have made sure of. Found missing after all,
 * it is an error of this program.
 */
import { SignalboxError } from '../errors.ts'
import type { Section } from './section.ts'

/** @throws SignalboxError INTERNAL when the value is missing */
export function sure<T>(value: T | undefined, section: Section, key: string): T {
  if (value === undefined) throw new SignalboxError(
    'INTERNAL',
    `${section.path(key)} passed the checks without a value`,
  )
  return value
}

export function number(section: Section, key: string): number {
  return sure(section.number(key), section, key)
}

export function flag(section: Section, key: string): boolean {
  return sure(section.flag(key), section, key)
}

/** Milliseconds. */
export function duration(section: Section, key: string): number {
  return sure(section.duration(key), section, key)
}
