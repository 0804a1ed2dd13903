/** How much longer everything takes where the suite runs now: 1 on a machine's own disks, more on a cloud's. */
const times = Number(process.env.DROVER_TEST_PATIENCE ?? 1)

/** @param ms a test's time-out where things are quick */
export const patience = (ms: number): number => ms * times
