/* An Evolution module that adds two actions. Evolution puts its actions on the session bus, where
 * `gapplication action org.gnome.Evolution mailbell-fetch` calls the first of them.
 *
 *   mailbell-fetch               fetches all accounts
 *   mailbell-fetch-account NAME  fetches the accounts with this name; if there is none, all
 *
 * An account is fetched as its own interval does it: without a window, with its filters.
 * Evolution ignores a request for an account that it is fetching, although that fetch may have
 * looked before the new mail came. It does not tell either. So a request that came while anything
 * was fetched is repeated until nothing is. An account gets one or two requests a second at most. */

#include <mail/e-mail-backend.h>
#include <mail/e-mail-ui-session.h>
#include <mail/mail-send-recv.h>
#include <shell/e-shell.h>

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of functions whose type is not ours */

/* The state of an account: FORGOTTEN, FETCHED since the last look, or WANTED, to which each look
 * that finds Evolution busy adds 1. The account's CamelService keeps it. */
enum { FORGOTTEN, FETCHED, WANTED };
#define GET_STATE(service) GPOINTER_TO_INT (g_object_get_data (G_OBJECT (service), "mailbell"))
#define SET_STATE(service, state) \
	g_object_set_data (G_OBJECT (service), "mailbell", GINT_TO_POINTER (state))

typedef EExtension Mailbell;
typedef EExtensionClass MailbellClass;
G_DEFINE_DYNAMIC_TYPE (Mailbell, mailbell, E_TYPE_EXTENSION)

static guint timer; /* of the next look at all accounts; 0: none */

/* Returns the accounts that are switched on. The queue has no references of its own. */
static GQueue enabled_accounts (void)
{
	EShell *shell = e_shell_get_default ();
	EShellBackend *backend = shell ? e_shell_get_backend_by_name (shell, "mail") : NULL;
	GQueue services = G_QUEUE_INIT;

	if (E_IS_MAIL_BACKEND (backend))
		e_mail_account_store_queue_enabled_services (e_mail_ui_session_get_account_store (
			E_MAIL_UI_SESSION (e_mail_backend_get_session (E_MAIL_BACKEND (backend)))), &services);
	return services;
}

/* While Evolution is offline it drops a request for an account on another machine. */
static gboolean is_reachable (CamelService *service)
{
	CamelProvider *provider = camel_service_get_provider (service);

	return e_shell_get_online (e_shell_get_default ())
		|| (provider && !(provider->flags & CAMEL_PROVIDER_IS_REMOTE));
}

static gboolean has_name (CamelService *service, const gchar *name)
{
	const gchar *own = camel_service_get_display_name (service);

	return own && g_ascii_strcasecmp (own, name) == 0;
}

static gboolean look (gpointer data)
{
	GQueue services = enabled_accounts ();
	gboolean busy = mail_msg_active (), more = FALSE;
	CamelService *service;

	while ((service = g_queue_pop_head (&services))) {
		gint state = GET_STATE (service);

		if (state < WANTED) {
			SET_STATE (service, FORGOTTEN);
		} else if (is_reachable (service)) {
			gint looks = state - WANTED;

			more = TRUE;
			SET_STATE (service, busy ? state + 1 : FETCHED);
			if (!busy || (looks & (looks - 1)) == 0) /* at 0, 1, 2, 4, 8, ... looks */
				mail_receive_service (service);
		}
	}
	if (!more)
		timer = 0;
	return more;
}

static void look_later (void)
{
	if (!timer)
		timer = g_timeout_add_seconds (1, look, NULL);
}

/* The name comes from any program of this session. It is compared, and not kept. */
static void activate (GSimpleAction *action, GVariant *parameter, gpointer data)
{
	const gchar *name = parameter ? g_variant_get_string (parameter, NULL) : NULL;
	GQueue services = enabled_accounts ();
	gboolean busy = mail_msg_active (), named = FALSE;
	CamelService *service;

	for (GList *link = services.head; name && link; link = link->next)
		named |= has_name (link->data, name);
	while ((service = g_queue_pop_head (&services))) {
		gint state = GET_STATE (service);

		if (named && !has_name (service, name))
			continue;
		SET_STATE (service, state == FORGOTTEN && is_reachable (service) && !busy ? FETCHED : WANTED);
		if (state == FORGOTTEN && is_reachable (service))
			mail_receive_service (service);
	}
	look_later ();
}

static void mailbell_constructed (GObject *object)
{
	EExtensible *shell = e_extension_get_extensible (E_EXTENSION (object));
	const GActionEntry entries[] = {
		{ .name = "mailbell-fetch", .activate = activate },
		{ .name = "mailbell-fetch-account", .activate = activate, .parameter_type = "s" },
	};

	G_OBJECT_CLASS (mailbell_parent_class)->constructed (object);
	g_action_map_add_action_entries (G_ACTION_MAP (shell), entries, 2, NULL);
	g_signal_connect (shell, "notify::online", look_later, NULL);
}

static void mailbell_class_init (MailbellClass *class)
{
	G_OBJECT_CLASS (class)->constructed = mailbell_constructed;
	class->extensible_type = E_TYPE_SHELL;
}

static void mailbell_class_finalize (MailbellClass *class) {}
static void mailbell_init (Mailbell *self) {}

G_MODULE_EXPORT void e_module_load (GTypeModule *module)
{
	mailbell_register_type (module);
}

G_MODULE_EXPORT void e_module_unload (GTypeModule *module)
{
	g_clear_handle_id (&timer, g_source_remove);
}
