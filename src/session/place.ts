/** Places that are counted for the whole instance: sessions of an account, connections to a destination. */

export interface Place {
  readonly of: 'account' | 'destination'
  /** The account as it is looked up, or the destination's name. */
  readonly name: string
}

/** Where a session takes them. */
export interface PlaceDesk {
  /**
   * True: not counted. A promise: whether the session got one; it must be given back whatever the answer is, also by who
   * no longer waits for it. Never rejects.
   */
  take(place: Place, session: string): true | Promise<boolean>
  giveBack(place: Place, session: string): void
}
