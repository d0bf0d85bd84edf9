# METADATA
# title: No overlay
# description: |
#   What the organisation's own rules say of the job. Here there are none; where a bundle holds overlays, this file is
#   generated and asks the one that the gateway names. An overlay that is not there leaves everything undefined.
# scope: package
package carnet.overlays

known if input.gateway.overlay == ""

blocked := {}

warned := {}

obliged := {}

passed := {}

explained := {}

dates := set()

rows := set()
