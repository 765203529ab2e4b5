/* SPDX-License-Identifier: BSD-3-Clause */
/* RFC 3339 to Unix seconds. Any thread. See coord_time.h. */
#include "coord_time.h"

#include <stdbool.h>

/* Exactly @digits digits; moves *at behind them. -1: something else. */
static int number_take(const char **at, unsigned digits)
{
	int value = 0;

	for (unsigned i = 0; i < digits; i++) {
		char c = (*at)[i];

		if (c < '0' || c > '9')
			return -1;
		value = value * 10 + (c - '0');
	}
	*at += digits;
	return value;
}

/* A number of @digits in a range, and then this character ('\0': anything). */
static bool field_take(
	const char **at, unsigned digits, const int range[2], char then, int *ret_value)
{
	int value = number_take(at, digits);

	if (value < range[0] || value > range[1])
		return false;
	if (then && *(*at)++ != then)
		return false;
	*ret_value = value;
	return true;
}

static int days_of_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && is_leap);
}

/* Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March. */
static int64_t days_since_1970(int year, int month, int day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* ".5": at least one digit. */
static bool fraction_skip(const char **at)
{
	const char *start;

	if (**at != '.')
		return true;
	for (start = ++*at; **at >= '0' && **at <= '9';)
		++*at;
	return *at > start;
}

/* "Z" or "+02:00", and the end. */
static bool offset_take(const char **at, int *ret_offset_s)
{
	int sign, hours, minutes;

	if (**at == 'Z') {
		*ret_offset_s = 0;
		return (*at)[1] == '\0';
	}
	if (**at != '+' && **at != '-')
		return false;
	sign = **at == '-' ? -1 : 1;
	++*at;
	if (!field_take(at, 2, (const int[]){0, 23}, ':', &hours) ||
		!field_take(at, 2, (const int[]){0, 59}, '\0', &minutes))
		return false;
	*ret_offset_s = sign * (hours * 3600 + minutes * 60);
	return **at == '\0';
}

int coord_time_parse(const char *text, int64_t *ret_unix_s)
{
	int year, month, day, hour, minute, second, offset_s;

	if (!field_take(&text, 4, (const int[]){0, 9999}, '-', &year) ||
		!field_take(&text, 2, (const int[]){1, 12}, '-', &month) ||
		!field_take(&text, 2, (const int[]){1, days_of_month(year, month)}, 'T', &day) ||
		!field_take(&text, 2, (const int[]){0, 23}, ':', &hour) ||
		!field_take(&text, 2, (const int[]){0, 59}, ':', &minute) ||
		!field_take(&text, 2, (const int[]){0, 59}, '\0', &second) ||
		!fraction_skip(&text) || !offset_take(&text, &offset_s))
		return -EINVAL;
	*ret_unix_s = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 +
		second - offset_s;
	return 0;
}
