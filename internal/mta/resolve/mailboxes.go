package resolve

// WithLocal tells that there is a service local(8): it consults mailbox_transport
// itself, after aliases and .forward files.
func (r *Resolver) WithLocal() { r.mailbox = transport{} }
