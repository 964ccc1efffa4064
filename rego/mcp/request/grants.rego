package mcp.request

# METADATA
# description: The grants of this caller on this server that are in force, in the order of the data.
grants := [grant |
	identified
	is_string(profile)
	server := input.server
	some grant in data.config.grants
	server in grant.servers
	_names_caller(grant)
	_well_formed(grant)
	_by_agent(grant)
	_begun(grant)
	_unexpired(grant)
]

# METADATA
# description: The grant is well formed and is for this server.
on_server(grant) if {
	input.server in grant.servers
	_well_formed(grant)
}

# METADATA
# description: It is within the hours of the grant, where the grant has any.
in_hours(grant) if not grant.hours

in_hours(grant) if within(grant.hours)

_names_caller(grant) if {
	some group in grant.groups
	groups[group]
} else if _subject in grant.subjects

else if {
	some email in grant.emails
	lower(email) == _email
} else if {
	# A grant that names agents and nobody else is for whoever is one of them.
	is_array(grant.agents)
	not grant.groups
	not grant.subjects
	not grant.emails
}

# Rules, and not paths in `input`: looked up once, not for each grant.
_subject := input.identity.subject

_email := lower(input.identity.email)

_by_agent(grant) if not grant.agents

_by_agent(grant) if {
	some name in grant.agents
	_is_agent(data.config.agents[name])
}

# Told apart by what the assertion proves: never by the name that a client gives itself.
_is_agent(agent) if input.identity.subject in agent.subjects

_is_agent(agent) if input.identity.audience in agent.audiences

# An unknown key makes a grant malformed: `repositorys` must not read as "every repository".
_well_formed(grant) if {
	is_string(grant.id)
	types := data.mcp.request.grant_keys
	every key, value in grant {
		type_name(value) == types[key]
	}
}

_begun(grant) if not grant.not_before

_begun(grant) if now >= moment(grant.not_before)

_unexpired(grant) if not grant.expires

_unexpired(grant) if now < moment(grant.expires)
