/** In an emulated guest a process and a file take twenty times as long: `--missing` has less of both, see docs/vm-lab.md. */
export const isInAHurry = process.env.DROVER_TEST_HURRY !== undefined
