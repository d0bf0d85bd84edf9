# METADATA
# title: End users and end uses
# description: |
#   What no place makes lawful: weapons of mass destruction, and military end users of the countries that 15 CFR 744.21 names.
#   Denied-party screening is the baseline's (CARNET-SCREENING).
# scope: package
package carnet.enduse

import data.carnet.links
import data.carnet.places

suspect := links.members("EAR_MEU")

default military := false

military if input.job.end_user.use in {"military", "unknown"}

party if input.job.end_user.country in suspect

party if input.job.end_user.parent_country in suspect

party if {
	input.job.technology.controlled != "no"
	not places.known(input.job.end_user.country)
}

party if {
	input.job.technology.controlled != "no"
	not places.known(input.job.end_user.parent_country)
}

# METADATA
# title: Nothing for weapons of mass destruction
# custom:
#   id: END-WMD
#   stage: job
#   effect: deny
#   citations: [C-EAR-744-2, C-EU-DU-4]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["END-WMD"] := {place | input.job.end_user.use == "wmd"; some place in places.universe}

explained["END-WMD"] := {"message": "enduse.wmd", "parameters": {}, "fix": ["enduse.fix.none"]}

# METADATA
# title: No military end user of the countries that the law names, and no end user of theirs whose use is not known
# custom:
#   id: END-MILITARY
#   stage: job
#   effect: deny
#   citations: [C-EAR-744-21]
#   effective_from: "2020-06-29"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["END-MILITARY"] := {place |
	military
	party
	some place in places.universe
}

explained["END-MILITARY"] := {
	"message": "enduse.military",
	"parameters": {
		"use": input.job.end_user.use,
		"end_user_country": input.job.end_user.country,
		"end_user_parent": input.job.end_user.parent_country,
	},
	"fix": ["enduse.fix.declare"],
}

dates := {day | military; some day in links.group_dates({"EAR_MEU"})}

rows := {row | military; some row in links.used({"EAR_MEU"})}
