// Package procedures follows Red Hat's "Deploying mail servers" for RHEL 9 as
// an administrator would, in the files that the packages install.
//
// A procedure is a row of the tables dovecotProcedures and postfixProcedures, named after its
// number in the document, and its steps are the edits that the document
// prescribes. A step fails if what it tells to change is not there. After
// the last one, the original and our program must read the files, print the
// same settings, and among them those that the procedure is about.
package procedures
