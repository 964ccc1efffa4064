package mcp.request

# METADATA
# description: When the question was asked, in milliseconds since 1970, UTC. A recorded decision is replayed with its own.
now := floor(input.time_ms) if is_number(input.time_ms)

# METADATA
# description: A moment written as `2026-12-31T17:00:00Z`, in milliseconds since 1970. Undefined for anything else.
moment(text) := ((((((_days(year, month, day) * 24) + hour) * 60) + minute) * 60) + second) * 1000 if {
	endswith(text, "Z")
	[date, clock] := split(trim_suffix(text, "Z"), "T")
	[year, month, day] := [_whole(part) | some part in split(date, "-")]
	[hour, minute, second] := [_whole(part) | some part in split(clock, ":")]
	_between(year, 2000, 9999)
	_between(month, 1, 12)
	_between(day, 1, 31)
	_between(hour, 0, 23)
	_between(minute, 0, 59)
	_between(second, 0, 59)
}

# METADATA
# description: |
#   It is within these hours: `days` (of mon to sun), `from` and `to` as `08:00`, and `utc_offset_minutes` where the
#   clock on the wall is not UTC. Hours that are malformed are no hours.
within(hours) if {
	object.remove(hours, ["days", "from", "to", "utc_offset_minutes"]) == {}
	offset := object.get(hours, "utc_offset_minutes", 0)
	_between(offset, -840, 840)
	floor(offset) == offset
	local := floor(now / 60000) + offset
	weekday := (floor(local / 1440) + 4) % 7
	data.mcp.request.weekdays[weekday] in hours.days
	minute := local % 1440
	minute >= _minute_of_day(hours.from)
	minute < _minute_of_day(hours.to)
}

_minute_of_day(text) := (hour * 60) + minute if {
	[hour, minute] := [_whole(part) | some part in split(text, ":")]
	_between(hour, 0, 24)
	_between(minute, 0, 59)
}

_whole(text) := number if {
	number := to_number(text)
	floor(number) == number
}

_between(number, least, most) if {
	is_number(number)
	number >= least
	number <= most
}

# Days since 1970 in the Gregorian calendar: years begin in March, so that the leap day is the last of its year.
_days(year, month, day) := ((((era * 146097) + (of_era * 365)) + leap_days) + day_of_year) - 719468 if {
	from_march := year - _before_march(month)
	era := floor(from_march / 400)
	of_era := from_march % 400
	leap_days := floor(of_era / 4) - floor(of_era / 100)
	day_of_year := (floor(((153 * ((month + 9) % 12)) + 2) / 5) + day) - 1
}

_before_march(month) := 1 if month <= 2

_before_march(month) := 0 if month > 2
