package conf

import (
	"github.com/dovetail-mail/dovetail/internal/conf/doveconf"
	"github.com/dovetail-mail/dovetail/internal/conf/postconf"
)

// Our programs run in this process.
var (
	doveconfMain tool = doveconf.Main
	postconfMain tool = (&postconf.Tool{}).Main
)
