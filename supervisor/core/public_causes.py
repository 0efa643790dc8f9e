"""What of a cause may be read by whoever may see no partner's free text.

Owns the words that say nothing of anybody: those of our own reasons, of HTTP, and of the errors
that APIs give. Of a cause they stay, with its signs and codes; any other word may be somebody's,
and is an ellipsis. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: What stands where a word was left out.
LEFT_OUT = "\u2026"
#: Longest cause that is read, in characters.
_MOST_CHARS = 400

_RUN = re.compile(r"(?:[A-Za-z]|[^\x00-\x7f\u2026])+")
#: The words in a run of letters: `ValueError` and `APIKey` have two each.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+")
_REPEATED = re.compile(f"{LEFT_OUT}(?:[ _-]?{LEFT_OUT})+")


@lru_cache(2048)
def public_cause(cause: str) -> str:
    """The cause with an ellipsis in place of every word that is not one of those."""
    return _REPEATED.sub(LEFT_OUT, _RUN.sub(_public, cause[:_MOST_CHARS]))


def _public(run: re.Match[str]) -> str:
    is_public = all(part.lower() in _WORDS for part in _PART.findall(run[0]))
    return run[0] if is_public else LEFT_OUT


_TEXT = """
a abort aborted about abstract accept acceptable accepted access account accounts accused action
actions active activities activity actual adaptive add added address addresses adjusted adjusts
admin administrator adopt ads adwords affiliation after again against agent alarm alias all
allocate allow allowed allows alone along already also alter among amount an analytic analytics
anchor and android anonymous anonymousid another answer answered answers any anybody apart api app
appinstanceid application applied apr archived are argument arguments arithmetic around array as
ascii aside ask asked asks assertion asyncio at attach attempt attempted attempts attribute
attributed attributes audience aug auth authentication authoritative authorization authorize avatar
awaited away back background backgrounded backlog backup bad barrier base basic batch batches be
bearer became because become becomes been before began begin begins begun behind being belongs
beside between billing binascii bind bits blank blanks blob blocked bodies body books boolean boot
both bounced brace breaker breaks broke broken browser budget buffer bug build building built
bulkhead busy but by byte bytes cache call called caller callerid calling calls came campaign can
cancelled cannot cap capabilities capability capacity capget capitals carrier cart carts case
casefold category cause causes ccess center certificate cgroup chain change changed channel
characters charset chat cheaply check checking checkout checkpoint child children chmod choice
choices chrome chunk chunks circles circuit city class clicked client clock clone close closed
cloud coalesce code column columns com come comes commit commits companies company comparison
completed composite compressed concurrency condition config conflict conflicts connect connected
connection connections connector console constant constraint constraints consumer contact contactid
contacts container content context continue contract control controllers conversation conversion
conversionaction conversions copies copy core correct cost could count counted country countrycode
counts coupon cpu crash crashed create created createdat creative credential credentials credits
critical csv ctl currency custom daily damaged dashes data database datagram date dates datetime
day deactivated dead deadline deadlock death deaths decide decided decides decimal declared
declares decode dedupe deep deeper default define deflate delegate delegated delete deleted deliver
delivered deliveries delivery denied denies deny dependency deprecated desc described description
descriptor descriptors destination destinations detail details detected dev device did die died
dies digits dir directory disabled disk division dns do docs documentation documents does domain
done dot down drain draining drift drop dropped drops dry due dup duplicate duplicated duplicates
dynamic each ead earlier early ed edge either element elements else email emails employee employees
emptied empty enabled encode encoding encrypted end ended endpoint ends engage engine enough enter
entered entity entries entry enum enumeration environment equal error errors escape etc eur event
events ever every evicted example exceed exceeded exceeds exception excluded executable execute
exhausted exist exists exit exited exits expectation expected expired explorer expression extended
external failed failing failure false fast fatal fault feature few fewer field fields figures file
files fill filter find finish finished first folder folders follow followed for forbidden foreign
forked form format formatted found free from full further future gateway gave generation
generations generator get gigabyte gigabytes give given gives glibc go goes gone good google got
grade grant grants greater group groupid groups grown grows gzip had half handed handle handlers
handles handshake hard has hash hashed hashes have head header headers health heap held here hex
hexadecimal hides hints history hold holds honest hooks host hostname hosts hour hours how html
http https huge hung i id identifier identifiers identify identity ids if ignore ignored ii
immediate immutable implemented import imported importing imports in inactive included incorrect
index indexed industry information init insert install installed instead instr instructions
insufficient intake integer integrations intercom interfaces interim internal internet interrupted
into invalid invalidurl invite io ios ip ipv is iso isolated it item items iteration its itself
jail jobid join journal json just keep keeps kept keptstate kernel key keyboard keyring keys kill
killed kills kinds kit know known knows label lag laid large larger last lasts late later layers
layout lead leads leak leaks lease leased least leave leaves left legal length less let letter
letters levels libraries life like likely limit limited limiting limits line linger link linux list
listen listener lists little live load loaded loader loads local location lock locked lockout log
login long longer longest look looked looks lookup loop loops loss lost low lower lseek machine
made mail maintenance major make makes malformed mandatory manufacturer many map mapped mapping
maps marked marketo master match matches math max maximum may means measurement media membarrier
member members memory memoryerror mend mended merchant merge merged message messageid met meta
method microsoft middle might milliseconds min minimum minor minute minutes misdirected mismatch
missing mixpanel mkdir mobile mobilephone mode model modified module moment mon monthly more most
mostly mount mounted moved msg much multi multibytecodec multicast multiple multiprocessing must my
n name named names namespace namespaces nanosleep native nearly needed needs negotiates neither
nested netlink network never new newer newest newfstatat next no nobody non none nor not nothing
noticed notification now null number numbers nxdomain oauth object objects obsolete odd of off
offset often ok old older oldest on once one ones only open opened opening opera operator option
optional options or order ordered orders organisation organization orphans os other others
otherwise our ours ourselves out outcome outcomes outermost outlive outlives outside over overflow
overload overloaded own owner owns package packed packet page pages pair parameter parameters
parent parked parse parsed parsing part partial particular partner pass passive password past patch
path paths pause paused payload payment peer pending people per permanent permanently permission
permissions permitted person phone phones photo pid pin ping pins pipe place plain plan playback
playing please plugin plugins point poll pool pools port ports position post pp precondition
previousid price primary priority private privileges probation probe probes process processes
processing product products profile program progress project promotion properties property protect
protection protocols prove proven provided proxy public purchased push put puts py quality
quarantined query questions queue queues quota quotas quote quotes raise raised raises ran random
randomblob range rate raw reach reached read reading readlink readlinkat readonly readv ready real
reaped reaper reason reasons received recent recognised recognized record records recursion
recvfrom recvmmsg recvmsg recycling redentials redirect redirects reference references referrer
refresh refunded refused region register relaxed reload removed rename renameat renew renewal
renewalright renewed renice repeat replace replaced replay replayed report reported reports request
requested requests require required requires reserved reserves reset resolution resolve resolved
resource rest restart restore restricts result results resume resumed resumes retries retry
returned returning revenue reviewed revoked right rlimit rmdir robust roken role roles room root
round route routed routes row rowid rows rule rules run running runs runtime s safari said
salesforce same sample samples samsung sandbox satisfiable say says schema scope scopes scratch
screen sdk search searched seccomp second seconds secret secrets see seeds seek seen sees segment
select self send senders sendfile sends sent sequence serve server servers serves servfail service
services session sessions set sets settime setting settings settled setup several shadow share
shared shipping short should shows shutdown sigabrt sigbus sigfpe sigill sigkill sign signal
signals signature signed signin sigsegv sigsys sigterm sigxcpu since single size skipped sku slot
slow slowly small snapshot so socket sockets soft some somebody something source sources space spam
spare speak speaks specified spoken sql ssl stack stacks stale stand stands start started stat
state statfs statistics status statuses stays step still stood stop stopped stopping stops storage
store stored stray strays stream streams string strings struct subclass subscription succeeded
success such sum supervisor supplied support supported suspected suspects suspended switching
symbolic synchronous syntax sys syscall sysinfo syslog system systemd table tables tags take taken
takes tapped task tasks tax tcp teapot tell telling temp tempfile temporarily temporary ten tenant
term terminal text texts than that the their them themselves then there these they this those
thread threads three throttled throttling through time timed timeline timeout timeouterror timeouts
timers times timestamp title tls tlsv to together token tokens told too took top total trace
traceback track tracking tracks traits transaction transfer transient travel trial tried tripped
true truncate trusted try tuple turn twice two type types typing udp uids unable unasked
unauthenticated unauthorized unavailable undefined under undoes unexpected unicode unicodedata
uninstalled unique unix unknown unlink unpacked unpacking unprintable unprocessable unreachable
unrecognized unsettled unspecified unsubscribed unsupported until untold up update updated updates
upgrade upload upstream uri url urls use used user userid users uses usually utf uuid valid
validate validated validation value values variant verification verified verify version versions
via video viewed violates violation wait waited waitid waiting waits wake wal wanted wants warm
warning was watched way we web webhooks website websites well went were what whatever when where
whether which while who whole whose why will window windows wire wish wishlist with within without
word words worker workers workspace worth would write writekey writes written wrong xml yes yet
yield you your zero zeros zone zoneinfo zygote
"""
_WORDS = frozenset(_TEXT.split())
