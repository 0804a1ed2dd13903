const suffixOf = (moveId: string): string => `.drover-${moveId}`

/** The name under which a carried container waits on the target until the move has committed. */
export const waitingName = (name: string, moveId: string): string => name + suffixOf(moveId)

export const isWaitingName = (name: string, moveId: string): boolean => name.endsWith(suffixOf(moveId))
