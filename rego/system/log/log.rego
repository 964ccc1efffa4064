# METADATA
# title: Masking and dropping of decision events
# description: OPA's reserved names. The event is `input`.
package system.log

# METADATA
# title: What is masked
# description: The paths, or `{op, path, value}`, that data lists under `config.mask`. Nothing by default.
# scope: document
# entrypoint: true
mask contains item if some item in data.config.mask

# METADATA
# title: Is the event dropped?
# description: Nothing is dropped. Only allows whose record is `best_effort` could be.
# scope: document
# entrypoint: true
default drop := false
