/**
 * What the thread can be asked for, by name. An error of ours crosses threads as plain data, because a class does not
 * survive the way; every other error is a defect and goes as it is.
 */
import { SignalboxError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { mistakesOf } from '../mistakes.ts'
import type { MappingMistakes } from '../mistakes.ts'
import { orderTable } from './build.ts'
import { decodeChanges } from './changes.ts'
import { difference } from './difference.ts'
import type { Difference } from './difference.ts'
import { load } from './load.ts'
import type { Loaded, LoadTask } from './load.ts'
import { compareAll, importAll, rewrite } from './rewrite.ts'
import type { TableData } from './table.ts'

export interface ReloadTask {
  readonly load: LoadTask
  /** What was in force until now: an ordered table and the changes on top of it. */
  readonly table: TableData
  readonly changes: Uint8Array
}

export interface Reloaded {
  /** Ordered. */
  readonly loaded: Loaded
  readonly difference: Difference
}

function reload(task: ReloadTask): Reloaded {
  const loaded = load(task.load)
  const table = orderTable(loaded.table)
  return { loaded: { ...loaded, table }, difference: difference(task.table, decodeChanges(task.changes), table) }
}

const TASKS = { load, order: orderTable, rewrite, reload, import: importAll, compare: compareAll }

export type TaskName = keyof typeof TASKS
export type TaskOf<Name extends TaskName> = Parameters<(typeof TASKS)[Name]>[0]
export type ResultOf<Name extends TaskName> = ReturnType<(typeof TASKS)[Name]>

/** A task on its way to the thread. */
export type Request = { [Name in TaskName]: { readonly name: Name; readonly task: TaskOf<Name> } }[TaskName]

export type Answer<Result> =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly mistakes?: MappingMistakes }

/** Runs in the thread. */
export function answer(request: Request): Answer<ResultOf<TaskName>> {
  try {
    return { ok: true, result: run(request) }
  } catch (error) {
    if (!(error instanceof SignalboxError)) throw error
    const mistakes = mistakesOf(error)
    return { ok: false, code: error.code, message: error.message, ...(mistakes === undefined ? {} : { mistakes }) }
  }
}

function run(request: Request): ResultOf<TaskName> {
  switch (request.name) {
    case 'load':
      return TASKS.load(request.task)
    case 'order':
      return TASKS.order(request.task)
    case 'rewrite':
      return TASKS.rewrite(request.task)
    case 'reload':
      return TASKS.reload(request.task)
    case 'import':
      return TASKS.import(request.task)
    case 'compare':
      return TASKS.compare(request.task)
  }
}
