/** AVX, AVX2, FMA3, F16C, BMI1 and BMI2. */
export const VEX = [
] as const
