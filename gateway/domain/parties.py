"""The Party codes the gateway accepts.

ISO 3166-1 alpha-3 as published (249 codes), plus the reserved code the UNFCCC uses for the European Union.
A Party code names a Party in addresses, attributes and ITMO identifiers (6/CMA.4 annex I para 5); that a code
is listed here says nothing about whether the Party takes part in Article 6. A code that is not listed is
refused by check 2010. The groups of Parties that rules speak of are dated data
(``host_groups/``), each with its source.
"""

from gateway.domain.editions import editions

RESERVED_PARTIES = frozenset({"EUE"})

_ISO_3166_1_ALPHA_3 = """
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR
    BHR BHS BIH BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG
    COK COL COM CPV CRI CUB CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH
    FIN FJI FLK FRA FRO FSM GAB GBR GEO GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY
    HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM
    KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA MAC MAF MAR MCO MDA MDG MDV MEX MHL
    MKD MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER NFK NGA NIC NIU NLD NOR
    NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU RUS RWA SAU
    SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA
    TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB
    VIR VNM VUT WLF WSM YEM ZAF ZMB ZWE
"""

PARTIES = frozenset(_ISO_3166_1_ALPHA_3.split()) | RESERVED_PARTIES

_HOSTS = editions("host_groups")[-1]
LEAST_DEVELOPED = frozenset(_HOSTS["least_developed"]["parties"].split())
SMALL_ISLANDS = frozenset(_HOSTS["small_islands"]["parties"].split())

#: Hosts whose activities are exempt from the share of proceeds for adaptation (decision on Article 6.4 of CMA 6).
EXEMPT_FROM_PROCEEDS = LEAST_DEVELOPED | SMALL_ISLANDS
