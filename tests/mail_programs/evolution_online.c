/* For tests alone: the action "test-online" of Evolution does what its menu does (Work Online). It
 * does so two seconds later, after the look that mailbell's module has in its timer by then. */

#include <shell/e-shell.h>

typedef EExtension Online;
typedef EExtensionClass OnlineClass;
GType online_get_type (void);
G_DEFINE_DYNAMIC_TYPE (Online, online, E_TYPE_EXTENSION)

static gboolean go_online (gpointer data)
{
	e_shell_set_online (e_shell_get_default (), TRUE);
	return G_SOURCE_REMOVE;
}

static void activate (GSimpleAction *action, GVariant *parameter, gpointer data)
{
	g_timeout_add_seconds (2, go_online, NULL);
}

static void online_constructed (GObject *object)
{
	EExtensible *shell = e_extension_get_extensible (E_EXTENSION (object));
	const GActionEntry entries[] = { { .name = "test-online", .activate = activate } };

	G_OBJECT_CLASS (online_parent_class)->constructed (object);
	g_action_map_add_action_entries (G_ACTION_MAP (shell), entries, 1, NULL);
}

static void online_class_init (OnlineClass *class)
{
	G_OBJECT_CLASS (class)->constructed = online_constructed;
	class->extensible_type = E_TYPE_SHELL;
}

static void online_class_finalize (OnlineClass *class) {}
static void online_init (Online *self) {}

G_MODULE_EXPORT void e_module_load (GTypeModule *module)
{
	online_register_type (module);
}

G_MODULE_EXPORT void e_module_unload (GTypeModule *module) {}
