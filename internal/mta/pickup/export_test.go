package pickup

// SetStep has fn called before and after each thing that must not be done by halves.
func SetStep(fn func()) { step = fn }
