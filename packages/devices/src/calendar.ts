/** Gregorian calendar arithmetic for the clock chip; no time zones. */

/** A moment in fields. Month and day count from 1; weekday 1 is Sunday, as the MC146818 has it. */
export interface Calendar {
  readonly year: number
  readonly month: number
  readonly day: number
  readonly weekday: number
  readonly hour: number
  readonly minute: number
  readonly second: number
}

const DAY = 86_400
/** Days from 0000-03-01 to 1970-01-01. */
const EPOCH_DAYS = 719_468

/** Days since 1970-01-01; months and days outside their range carry over. */
function daysOf(year: number, month: number, day: number): number {
  // Years that begin in March put the leap day at the end.
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  const leapDays = Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100)
  return era * 146_097 + yearOfEra * 365 + leapDays + dayOfYear - EPOCH_DAYS
}

/** Seconds since 1970 of a moment. */
export const secondsOf = (c: Omit<Calendar, 'weekday'>): number =>
  daysOf(c.year, c.month, c.day) * DAY + c.hour * 3600 + c.minute * 60 + c.second

/** The moment `seconds` after 1970-01-01 00:00:00. */
export function calendarOf(seconds: number): Calendar {
  const days = Math.floor(seconds / DAY)
  const rest = seconds - days * DAY
  const shifted = days + EPOCH_DAYS
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365)
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
    // 1970-01-01 was a Thursday.
    weekday: ((days + 4) % 7 + 7) % 7 + 1,
    hour: Math.floor(rest / 3600),
    minute: Math.floor(rest / 60) % 60,
    second: rest % 60,
  }
}
