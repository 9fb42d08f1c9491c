// Package tables has the lookup tables that servers answer asked by Postfix's postmap and by
// ours: the same configuration, the same keys, the same answers and warnings.
package tables
