package postfix

// Core holds the parameters that belong to no single program.
type Core struct {
	Myhostname         string `set:"myhostname" nonempty:"yes" doc:"internet host name of this mail system"`
	Mydomain           string `set:"mydomain" nonempty:"yes" doc:"internet domain of this mail system"`
	Myorigin           string `set:"myorigin" default:"$myhostname" nonempty:"yes" doc:"domain added to addresses of locally posted mail"`
	Mydestination      string `set:"mydestination" default:"$myhostname, localhost.$mydomain, localhost" doc:"domains delivered by $local_transport"`
	Mynetworks         string `set:"mynetworks" doc:"trusted client networks"`
	MynetworksStyle    string `set:"mynetworks_style" default:"${{$compatibility_level} <level {2} ? {subnet} : {host}}" nonempty:"yes" doc:"how the default of mynetworks is computed"`
	RelayDomains       string `set:"relay_domains" default:"${{$compatibility_level} <level {2} ? {$mydestination} : {}}" doc:"destinations to relay mail to"`
	Relayhost          string `set:"relayhost" doc:"next hop of non-local mail"`
	RecipientDelimiter string `set:"recipient_delimiter" doc:"characters that separate user and extension"`
	InetInterfaces     string `set:"inet_interfaces" default:"all" doc:"addresses to listen on"`
	InetProtocols      string `set:"inet_protocols" default:"all" doc:"ipv4, ipv6 or all"`
	ProxyInterfaces    string `set:"proxy_interfaces" doc:"addresses of proxies or NAT in front of this system"`

	QueueDirectory     string `set:"queue_directory" default:"/var/spool/postfix" nonempty:"yes" doc:"directory of queues and sockets"`
	MailOwner          string `set:"mail_owner" default:"postfix" nonempty:"yes" doc:"user that owns the queue"`
	SetgidGroup        string `set:"setgid_group" default:"postdrop" nonempty:"yes" doc:"group of the set-gid commands"`
	DefaultPrivs       string `set:"default_privs" check:"only" default:"nobody" nonempty:"yes" doc:"user of deliveries to commands and files by default"`
	MailName           string `set:"mail_name" default:"Postfix" nonempty:"yes" doc:"name of the mail system in headers and greetings"`
	MailVersion        string `set:"mail_version" default:"3.7.11" nonempty:"yes" doc:"version of the mail system"`
	CompatibilityLevel string `set:"compatibility_level" default:"0" doc:"which defaults are in force"`

	SyslogFacility                string `set:"syslog_facility" default:"mail" nonempty:"yes" doc:"syslog facility"`
	SyslogName                    string `set:"syslog_name" default:"${multi_instance_name?{$multi_instance_name}:{postfix}}" nonempty:"yes" doc:"name in front of the program name in log lines"`
	MaillogFile                   string `set:"maillog_file" doc:"log file used instead of syslog"`
	MaillogFilePrefixes           string `set:"maillog_file_prefixes" default:"/var, /dev/stdout" nonempty:"yes" doc:"where maillog_file may be"`
	SoftBounce                    bool   `set:"soft_bounce" default:"no" doc:"turn permanent failures into temporary ones"`
	DefaultProcessLimit           int    `set:"default_process_limit" default:"100" min:"1" doc:"process limit of services that have none"`
	SMTPUTF8Enable                bool   `set:"smtputf8_enable" default:"${{$compatibility_level} <level {1} ? {no} : {yes}}" doc:"support internationalized mail"`
	MessageSizeLimit              int64  `set:"message_size_limit" default:"10240000" min:"0" doc:"largest message in bytes"`
	EnableLongQueueIDs            bool   `set:"enable_long_queue_ids" default:"no" doc:"queue ids that are never used again"`
	DoubleBounceSender            string `set:"double_bounce_sender" default:"double-bounce" nonempty:"yes" doc:"sender of mail that must not bounce"`
	OwnerRequestSpecial           bool   `set:"owner_request_special" default:"yes" doc:"treat owner-list and list-request specially"`
	ParentDomainMatchesSubdomains string `set:"parent_domain_matches_subdomains" default:"debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps" doc:"lists in which a domain matches its subdomains"`
	DefaultDatabaseType           string `set:"default_database_type" default:"hash" nonempty:"yes" doc:"table type of postmap and postalias"`
	MasterServiceDisable          string `set:"master_service_disable" doc:"services of master.cf not started"`
	KnownTCPPorts                 string `set:"known_tcp_ports" default:"lmtp=24, smtp=25, smtps=submissions=465, submission=587" doc:"ports of service names"`
	DisableDNSLookups             bool   `set:"disable_dns_lookups" default:"no" doc:"use no DNS in the SMTP client"`
}

var _ = Register("core", Core{})
