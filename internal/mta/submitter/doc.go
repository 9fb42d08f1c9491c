// Package submitter tells who of this machine's users may submit mail, and under
// which sender addresses: authorized_submit_users and local_login_sender_maps.
//
// sendmail(1) asks it to tell a user early what will not be accepted. What counts is
// what the pickup service says, for the owner of a file in the maildrop, since
// nothing that runs with the user's rights can be relied upon.
package submitter
