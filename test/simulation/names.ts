/** The volume that is written to, and who writes. */
export const volumeName = 'db'
export const writerName = 'writer'
/** Moves with it as a group, when there is one; its name comes first, so that it leads. */
export const besideName = 'beside'
export const groupLabel = 'app=shop'
