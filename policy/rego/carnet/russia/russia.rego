# METADATA
# title: Russia, localisation of personal data (Federal Law 23-FZ)
# description: |
#   From 1 July 2025 personal data of Russian citizens is not collected into databases abroad. A later transfer is not itself
#   forbidden, but no fact here shows a first copy in Russia: relaxing takes an exemption.
# scope: package
package carnet.russia

import data.carnet.gdpr
import data.carnet.links
import data.carnet.places

territory := {"RU"}

default collected := false

collected if {
	gdpr.personal
	links.touches(input.job.data.origin_jurisdiction, territory)
}

# METADATA
# title: Personal data collected in Russia stays there
# custom:
#   id: RU-23FZ
#   stage: job
#   effect: deny
#   citations: [C-RU-23FZ]
#   effective_from: "2025-07-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["RU-23FZ"] := places.with_regions({country | collected; some country in (places.countries - territory)})

explained["RU-23FZ"] := {"message": "russia.localisation", "parameters": {}, "fix": ["russia.fix.exemption"]}

dates := set()

rows := set()
